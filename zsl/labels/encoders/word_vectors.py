"""Label names to label vectors, by word vectors such as GloVe's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from zsl.errors import InputError, did_you_mean, others, refuse_repeated, require
from zsl.files.tables import other_rows, read_table, row_name
from zsl.labels.encoders.cache import Embedded
from zsl.labels.encoders.encoder import LabelEncoder, Scale
from zsl.labels.encoders.word_sources import Found, find_words

_ARTICLES = {"a", "an", "the"}


class WordVectors(LabelEncoder):
    """Embeds label names with word vectors.

    A name takes the first of these that the source has:

    1. the whole name as one token, its words joined by `_`, `-`, a space or nothing;
    2. the mean of its words, split at spaces, `_`, `-` and `/`, articles left out;
    3. vectors made of parts of the unknown words, if the source is fastText's binary.

    Each token is looked for as it stands, in lower case, capitalised; then without a possessive
    `'s`, then in the singular or plural.

    Args:
        source: A name of gensim's downloader, e.g. `glove-wiki-gigaword-300`, or a file: text of
            GloVe, word2vec or fastText, or binary of word2vec or fastText; also gzipped.
        missing: What a name without a vector gets: an `error`, or the `mean` of all vectors.
        aliases: CSV with the columns `name` and `alias`: what to look for in place of a name.
        scale: Scale of the result: `unit_norm`, `unit_variance`, or None to leave it.
    """

    def __init__(
        self,
        source: str = "glove-wiki-gigaword-300",
        missing: Literal["error", "mean"] = "error",
        aliases: str | None = None,
        scale: Scale | None = None,
    ) -> None:
        super().__init__(scale)
        require(
            missing in ("error", "mean"), f"encoder.missing is {missing!r}; expected error or mean."
        )
        self.source = str(Path(source).resolve()) if Path(source).is_file() else source
        self.missing = missing
        self.aliases = str(Path(aliases).resolve()) if aliases else None

    @property
    def arguments(self) -> dict[str, Any]:
        """The source and what happens to names that it lacks."""
        return {"source": self.source, "missing": self.missing, "aliases": self.aliases}

    @property
    def files(self) -> list[Path]:
        """The source, unless it has a name in gensim's downloader, and the aliases."""
        return [Path(file) for file in (self.source, self.aliases) if file]

    def embed(self, names: Sequence[str]) -> Embedded:
        """Reads the source and looks the names up in it."""
        aliases = _read_aliases(self.aliases)
        texts = {name: aliases.get(name, name) for name in names}
        wanted = {
            form for text in texts.values() for token in _tokens(text) for form in _forms(token)
        }
        found, fingerprint = find_words(self.source, wanted, self.missing == "mean")
        rows, origins, lacking = [], [], []
        for name, text in texts.items():
            made = _make_vector(text, found)
            if made is None:
                lacking.append(name)
                continue
            vector, origin = made
            rows.append(vector)
            origins.append(origin if text == name else f"{origin} (alias)")
        if lacking:
            raise self._no_vector(lacking, texts[lacking[0]], found)
        vectors = torch.from_numpy(np.stack(rows).astype(np.float32))
        return Embedded(vectors, origins, fingerprint)

    def _no_vector(self, names: list[str], text: str, found: Found) -> InputError:
        """Returns the error of names without a vector; the first is looked for as `text`."""
        unknown = next((word for word in _words(text) if not _find(word, found)), text)
        near = (w for w in found.words if w[:1] == unknown[:1] and abs(len(w) - len(unknown)) < 3)
        return InputError(
            f"{self.source} has no vector for {unknown!r} of the label {names[0]!r}; rename the "
            "label, name another word in encoder.aliases, or set encoder.missing to mean."
            + did_you_mean(unknown, near)
            + others(names)
        )


def _make_vector(text: str, found: Found) -> tuple[np.ndarray, str] | None:
    """Returns a vector, and what it was made of; None if the source has nothing to make it of."""
    for phrase in _phrases(text):
        if token := _find(phrase, found):
            return found.vectors[token], token
    words = _words(text)
    tokens = [_find(word, found) for word in words]
    if found.subwords and not all(tokens):
        parts = [
            (found.vectors[token], token)
            if token
            else (found.subwords(word), f"{word} (from its parts)")
            for word, token in zip(words, tokens, strict=True)
        ]
        return np.mean([part for part, _ in parts], axis=0), " + ".join(o for _, o in parts)
    if words and all(tokens):
        known = [token for token in tokens if token]
        return np.mean([found.vectors[token] for token in known], axis=0), " + ".join(known)
    if found.mean is not None:
        return found.mean, f"the mean of all {len(found.words):,} vectors"
    return None


def _read_aliases(path: str | None) -> dict[str, str]:
    if path is None:
        return {}
    table = read_table(Path(path), ("name", "alias"))
    pairs = zip(table["name"], table["alias"], strict=True)
    if gaps := [row for row, pair in enumerate(pairs) if not all(pair)]:
        raise InputError(
            f"{row_name(Path(path), gaps[0])}: a name or its alias is empty; give both."
            + other_rows(Path(path), gaps)
        )
    refuse_repeated(table["name"], lambda row: row_name(Path(path), row))
    return dict(zip(table["name"], table["alias"], strict=True))


def _words(text: str) -> list[str]:
    """Splits a name into words, without articles unless there is nothing else."""
    words = [word for word in re.split(r"[\s_\-/]+", text) if word]
    return [word for word in words if word.lower() not in _ARTICLES] or words


def _phrases(text: str) -> list[str]:
    """Writes the whole name as one token, in each way."""
    parts = [part for part in re.split(r"[\s_\-/]+", text) if part]
    phrases = [text, *(joint.join(parts) for joint in ("_", "-", " ", ""))]
    return [phrase for phrase in dict.fromkeys(phrases) if phrase]


def _tokens(text: str) -> list[str]:
    return [*_phrases(text), *_words(text)]


def _forms(token: str) -> list[str]:
    """Lists the spellings in which a token is looked for, the nearest first."""
    stems = [token, re.sub(r"['’][sS]?$", "", token)]
    for stem in list(stems):
        if stem.endswith("ies"):
            stems.append(f"{stem[:-3]}y")
        if stem.endswith("es"):
            stems.append(stem[:-2])
        if stem.endswith("y"):
            stems.append(f"{stem[:-1]}ies")
        stems.append(stem[:-1] if stem.endswith("s") else f"{stem}s")
    forms = [form for stem in stems for form in (stem, stem.lower(), stem.capitalize())]
    return [form for form in dict.fromkeys(forms) if form]


def _find(token: str, found: Found) -> str | None:
    return next((form for form in _forms(token) if form in found.vectors), None)
