"""Word vectors, read by gensim."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zsl.errors import InputError, did_you_mean
from zsl.labels.label_encoder import LabelEncoder


class WordVectors(LabelEncoder):
    """Embeds label names with word vectors such as GloVe.

    A name takes the vector of itself, also in lower case or with `_` for spaces; else the mean of
    the vectors of its words.

    Args:
        source: A name of gensim's downloader, e.g. `glove-wiki-gigaword-300`, or a file: text as
            GloVe's or word2vec's, or word2vec's binary (`.bin`), plain or gzipped.
    """

    def __init__(self, source: str = "glove-wiki-gigaword-300") -> None:
        super().__init__()
        self.source = source

    @cached_property
    def recipe(self) -> dict[str, str]:
        """The source; of a file, its place and digest."""
        recipe = {"encoder": "WordVectors", "source": self.source}
        path = Path(self.source)
        if path.is_file():
            recipe["source"] = str(path.resolve())
            with path.open("rb") as file:
                recipe["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
        return recipe

    def _embed(self, names: Sequence[str]) -> torch.Tensor:
        vectors = self._load()
        rows = []
        for name in names:
            tokens = _tokens(name, vectors)
            if not tokens:
                near = (word for word in vectors.key_to_index if word[:1] == name[:1].lower())
                raise InputError(
                    f"{self.source} has no vector for the label {name!r}; rename the label, or "
                    "take vectors that know it." + did_you_mean(name, near)
                )
            rows.append(np.mean([vectors[token] for token in tokens], axis=0))
        return torch.from_numpy(np.stack(rows).astype(np.float32))

    def _load(self) -> Any:
        # Imported here: it takes seconds, and most runs find their vectors in the cache.
        import gensim.downloader
        from gensim.models import KeyedVectors

        path = Path(self.source)
        if not path.is_file() and (path.suffix or path.name != self.source):
            raise InputError(f"The word vectors {self.source} do not exist; expected a file.")
        try:
            if not path.is_file():
                return gensim.downloader.load(self.source)
            is_binary = ".bin" in path.suffixes
            return KeyedVectors.load_word2vec_format(
                str(path), binary=is_binary, no_header=not is_binary and not _has_header(path)
            )
        except (OSError, ValueError, EOFError) as error:
            raise InputError(
                f"The word vectors {self.source!r} could not be read or fetched ({error}); expected"
                " a name of gensim's downloader, or a file in word2vec's text or binary format."
            ) from error


def _has_header(path: Path) -> bool:
    """Whether the first line is word2vec's: the numbers of words and of dimensions."""
    from smart_open import open as open_any

    with open_any(str(path), "rb") as file:
        return len(file.readline().split()) == 2


def _tokens(name: str, vectors: Any) -> list[str]:
    """The words that a name is the mean of; none if one of them is unknown."""
    for phrase in (name, name.replace(" ", "_")):
        if token := _find(phrase, vectors):
            return [token]
    tokens = [_find(word, vectors) for word in name.replace("_", " ").split()]
    return [token for token in tokens if token] if all(tokens) else []


def _find(word: str, vectors: Any) -> str | None:
    return next((form for form in (word, word.lower()) if form in vectors), None)
