"""Files of word vectors: finding the vectors of some words in them.

Binary files are read by gensim. Text is read here: gensim parses every number of the file, which
takes a minute longer, and fails on tokens with spaces in them, which glove.840B has (gensim issues
388 and 2795).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any
from zipfile import ZipFile, is_zipfile

import numpy as np
from tqdm import tqdm

from zsl.errors import InputError, listing, reason_of
from zsl.files.digests import file_digest

_FORMATS = (
    "expected a name of gensim's downloader, or a file: text of GloVe, word2vec or fastText, or "
    "binary of word2vec or fastText"
)
_BOM = b"\xef\xbb\xbf"
_FASTTEXT_MAGIC = (793712314).to_bytes(4, "little")


@dataclass
class Found:
    """What a source has of the words that are wanted."""

    vectors: dict[str, np.ndarray]
    """float32 (W,) by word."""
    words: list[str]
    """All words of the source."""
    mean: np.ndarray | None = None
    """float32 (W,), of all words; None unless it is wanted."""
    subwords: Callable[[str], np.ndarray] | None = None
    """Makes the vector of an unknown word from its parts, where the source can."""


def find_words(source: str, wanted: set[str], with_mean: bool = False) -> tuple[Found, str]:
    """Looks words up; reads the whole source, and keeps what is wanted.

    Args:
        source: A name of gensim's downloader, or a file, also gzipped.
        wanted: The words.
        with_mean: Also computes the mean of all vectors.

    Returns:
        What was found, and a digest of the source.

    Raises:
        InputError: The source can't be fetched or read; a line of it is wrong.
    """
    path = _locate(source)
    try:
        find = _find_in_text if _is_text(path) else _find_with_gensim
        return find(path, wanted, with_mean), file_digest(path)
    except InputError:
        raise
    except Exception as error:  # Damaged files fail in many ways.
        raise InputError(
            f"The word vectors {path} can't be read ({reason_of(error)}); {_FORMATS}."
        ) from error


def _locate(source: str) -> Path:
    """Returns the file of a source; fetches it if it is a name of gensim's downloader."""
    path = Path(source)
    if path.is_file():
        return path.resolve()
    if path.suffix or path.name != source:
        raise InputError(f"The word vectors {source} do not exist; {_FORMATS}.")
    # Imported here: it takes seconds.
    import gensim.downloader

    try:
        # With its path alone, gensim neither imports nor opens what it fetched.
        return Path(gensim.downloader.load(source, return_path=True))
    except (OSError, ValueError) as error:
        raise InputError(
            f"The word vectors {source!r} are not a file and could not be fetched "
            f"({reason_of(error)}); {_FORMATS}."
        ) from error


def _open(path: Path) -> Any:
    from smart_open import open as open_any

    return open_any(str(path), "rb")


def _is_text(path: Path) -> bool:
    """Whether the first line that is not a header ends in numbers."""
    width = 2
    with _open(path) as file:
        line = file.readline(1 << 20).removeprefix(_BOM)
        if _is_header(line):
            width = int(line.split()[1])
            line = file.readline(1 << 20)
    fields = line.split()
    try:
        return b"\0" not in line and len([float(v) for v in fields[-width:]]) < len(fields)
    except ValueError:
        return False


def _is_header(line: bytes) -> bool:
    """Whether this is word2vec's first line: the numbers of words and of dimensions."""
    values = line.split()
    return len(values) == 2 and all(value.isdigit() for value in values)


def _find_in_text(path: Path, wanted: set[str], with_mean: bool) -> Found:
    """Reads line by line, and the numbers of the wanted words alone."""
    vectors: dict[str, np.ndarray] = {}
    words: list[str] = []
    num_words = 0
    is_regular = True
    total: np.ndarray | float = 0.0
    with (
        _open(path) as file,
        tqdm(unit="B", unit_scale=True, desc=f"reading {path.name}", delay=2) as progress,
    ):
        head = list(islice(file, 100))
        head[0] = head[0].removeprefix(_BOM)
        if has_header := _is_header(head[0]):
            num_words, width = (int(value) for value in head.pop(0).split())
        else:
            # Of most lines, since a word may have spaces in it.
            counts = Counter(len(line.split()) - 1 for line in head)
            width = max(counts, key=lambda count: (counts[count], -count))
        for number, line in enumerate(chain(head, file), 1 + has_header):
            progress.update(len(line))
            line = line.rstrip()
            if not line:
                continue
            if not words:
                # Tabs, or several spaces, in place of one.
                is_regular = line.count(b" ") == len(line.split()) - 1
            if not is_regular:
                line = b" ".join(line.split())
            word = _word(line, width, path, number)
            words.append(word)
            if with_mean or (word in wanted and word not in vectors):
                vector = _numbers(line, width, path, number)
                if word in wanted:
                    vectors.setdefault(word, vector)
                total = total + vector.astype(np.float64) if with_mean else total
    if len(words) < num_words:
        raise InputError(
            f"{path} ends after {len(words):,} words, but its first line says {num_words:,}; it is "
            "cut off, so fetch it again."
        )
    mean = (np.asarray(total) / len(words)).astype(np.float32) if with_mean else None
    return Found(vectors, words, mean)


def _word(line: bytes, width: int, path: Path, number: int) -> str:
    """Returns what stands before the numbers; some words have spaces, or numbers, in them."""
    if line.count(b" ") < width:
        raise InputError(
            f"{path}, line {number} has {line.count(b' ')} numbers; expected {width}: it is cut "
            "off or damaged, so fetch it again."
        )
    return line.rsplit(b" ", width)[0].decode(errors="replace")


def _numbers(line: bytes, width: int, path: Path, number: int) -> np.ndarray:
    try:
        return np.array(line.rsplit(b" ", width)[1:], dtype=np.float32)
    except ValueError as error:
        raise InputError(
            f"{path}, line {number} has something else than numbers: {reason_of(error)}"
        ) from error


def _find_with_gensim(path: Path, wanted: set[str], with_mean: bool) -> Found:
    # Imported here: it takes seconds.
    from gensim.models import KeyedVectors
    from gensim.models.fasttext import load_facebook_vectors

    with _open(path) as file:
        head = file.read(4)
    if is_zipfile(path):
        raise InputError(
            f"{path} is a zip of {listing(ZipFile(path).namelist())}; unpack it, and name the file "
            "to read."
        )
    if path.suffix in (".kv", ".model") or head[:1] == b"\x80":
        raise InputError(
            f"{path} is a pickle, as gensim saves models and KeyedVectors, which could run "
            "code and is not read; convert it with gensim's save_word2vec_format as docs/labels.md "
            "shows."
        )
    is_fasttext = head == _FASTTEXT_MAGIC
    keyed = (
        load_facebook_vectors(str(path))
        if is_fasttext
        else KeyedVectors.load_word2vec_format(str(path), binary=True, unicode_errors="replace")
    )
    return Found(
        {word: np.array(keyed[word], np.float32) for word in wanted & keyed.key_to_index.keys()},
        list(keyed.key_to_index),
        keyed.vectors.mean(axis=0).astype(np.float32) if with_mean else None,
        keyed.get_vector if is_fasttext else None,
    )
