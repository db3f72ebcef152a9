"""Files of word vectors: finding the vectors of some words in them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from zsl.errors import InputError
from zsl.labels.encoders.safe_pickle import gensim_unpickles_safely

_FORMATS = (
    "expected a name of gensim's downloader, or a file: text of GloVe, word2vec or fastText, "
    "binary of word2vec or fastText, or a saved KeyedVectors (.kv)"
)
_BOM = b"\xef\xbb\xbf"
_FASTTEXT_MAGIC = (793712314).to_bytes(4, "little")


@dataclass
class Found:
    """What a source has of the words that were looked for."""

    vectors: dict[str, np.ndarray]
    """float32 (W,) by word."""
    words: list[str]
    """All words of the source."""
    fingerprint: str
    """Digest of its content."""
    mean: np.ndarray | None
    """float32 (W,), of all words; None unless it was asked for."""
    subwords: Callable[[str], np.ndarray] | None = None
    """Makes the vector of an unknown word from its parts, where the source can."""


def find_words(source: str, wanted: set[str], with_mean: bool = False) -> Found:
    """Looks words up; reads the whole source, and keeps what was looked for.

    Args:
        source: A name of gensim's downloader, or a file, also gzipped.
        wanted: The words.
        with_mean: Also computes the mean of all vectors.

    Raises:
        InputError: The source can't be had or read; a line of it is wrong.
    """
    path = locate(source)
    try:
        if _is_text(path):
            return _find_in_text(path, wanted, with_mean)
        return _find_with_gensim(path, wanted, with_mean)
    except InputError:
        raise
    except Exception as error:  # Damaged files fail in many ways.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"The word vectors {path} can't be read ({reason}); {_FORMATS}."
        ) from error


def locate(source: str) -> Path:
    """The file of a source; fetches it where gensim's downloader has it.

    Raises:
        InputError: There is none.
    """
    path = Path(source)
    if path.is_file():
        return path.resolve()
    if path.suffix or path.name != source:
        raise InputError(f"The word vectors {source} do not exist; {_FORMATS}.")
    # Imported here: it takes seconds.
    import gensim.downloader

    try:
        return Path(gensim.downloader.load(source, return_path=True))
    except (OSError, ValueError) as error:
        raise InputError(
            f"The word vectors {source!r} are no file and could not be fetched ({error}); "
            f"{_FORMATS}."
        ) from error


def files_of(path: Path) -> list[Path]:
    """The file, and the arrays that gensim lays beside a large `.kv`."""
    return [path, *(sorted(path.parent.glob(f"{path.name}.*")) if path.suffix == ".kv" else [])]


def _open(path: Path) -> Any:
    from smart_open import open as open_any

    return open_any(str(path), "rb")


def _is_text(path: Path) -> bool:
    """Whether the first line that is no header is a word and numbers."""
    with _open(path) as file:
        line = file.readline(1 << 20).removeprefix(_BOM)
        if _is_header(line):
            line = file.readline(1 << 20)
    try:
        line.decode()
        return len([float(value) for value in line.split()[1:]]) > 1
    except ValueError:
        return False


def _is_header(line: bytes) -> bool:
    """Whether this is word2vec's first line: the numbers of words and of dimensions."""
    values = line.split()
    return len(values) == 2 and all(value.isdigit() for value in values)


def _find_in_text(path: Path, wanted: set[str], with_mean: bool) -> Found:
    """Reads line by line: gensim would parse all numbers, which takes a minute."""
    vectors: dict[str, np.ndarray] = {}
    words: list[str] = []
    digest = hashlib.sha256()
    num_words = width = None
    is_regular = True
    total: np.ndarray | float = 0.0
    with (
        _open(path) as file,
        tqdm(unit="B", unit_scale=True, desc=f"reading {path.name}", delay=2) as progress,
    ):
        for number, line in enumerate(file, 1):
            digest.update(line)
            progress.update(len(line))
            if number == 1:
                line = line.removeprefix(_BOM)
                if _is_header(line):
                    num_words, width = (int(value) for value in line.split())
                    continue
            line = line.rstrip()
            if not line:
                continue
            if not words:
                # Tabs, or several spaces, in place of one.
                is_regular = line.count(b" ") == len(line.split()) - 1
            if not is_regular:
                line = b" ".join(line.split())
            width = width or line.count(b" ")
            word = _word(line, width, path, number)
            words.append(word)
            if with_mean or (word in wanted and word not in vectors):
                vector = _numbers(line, width, path, number)
                if word in wanted:
                    vectors.setdefault(word, vector)
                total = total + vector.astype(np.float64) if with_mean else total
    if num_words not in (None, len(words)):
        raise InputError(
            f"{path} ends after {len(words):,} words, but its first line says {num_words:,}; it is "
            "cut off, so fetch it again."
        )
    mean = (np.asarray(total) / len(words)).astype(np.float32) if with_mean else None
    return Found(vectors, words, digest.hexdigest()[:16], mean)


def _word(line: bytes, width: int, path: Path, number: int) -> str:
    """The word of a line; some of GloVe's have spaces in them."""
    word = line.partition(b" ")[0]
    count = line.count(b" ")
    if count > width:
        word = line.rsplit(b" ", width)[0]
        count = width + _is_number(word.rpartition(b" ")[2])
    if count != width:
        raise InputError(
            f"{path}, line {number} has {count} numbers; expected {width}, as the lines before: it "
            "is cut off or damaged, so fetch it again."
        )
    return word.decode(errors="replace")


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(line: bytes, width: int, path: Path, number: int) -> np.ndarray:
    try:
        return np.array(line.rsplit(b" ", width)[1:], dtype=np.float32)
    except ValueError as error:
        raise InputError(
            f"{path}, line {number} has something else than numbers: {error}"
        ) from error


def _find_with_gensim(path: Path, wanted: set[str], with_mean: bool) -> Found:
    # Imported here: it takes seconds.
    from gensim.models import KeyedVectors
    from gensim.models.fasttext import load_facebook_vectors

    with _open(path) as file:
        head = file.read(4)
    subwords = None
    if head == _FASTTEXT_MAGIC:
        keyed = load_facebook_vectors(str(path))
        subwords = keyed.get_vector
    elif path.suffix == ".kv" or head[:1] == b"\x80":
        with gensim_unpickles_safely():
            keyed = KeyedVectors.load(str(path))
        subwords = keyed.get_vector if hasattr(keyed, "vectors_ngrams") else None
    else:
        keyed = KeyedVectors.load_word2vec_format(str(path), binary=True)
    known = wanted.intersection(keyed.key_to_index)
    digest = hashlib.sha256()
    for part in files_of(path):
        with part.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return Found(
        {word: np.array(keyed[word], dtype=np.float32) for word in known},
        list(keyed.key_to_index),
        digest.hexdigest()[:16],
        keyed.vectors.mean(axis=0).astype(np.float32) if with_mean else None,
        subwords,
    )
