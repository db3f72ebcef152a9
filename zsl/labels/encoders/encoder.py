"""What every encoder of label names shares: scaling, cache, check of the source, recipe."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from zsl.errors import InputError, others, require
from zsl.files.class_paths import as_plain_values, class_path, load_class
from zsl.labels.encoders.cache import Embedded, cached

Scale = Literal["unit_norm", "unit_variance"]


class LabelEncoder(ABC):
    """Turns label names into vectors, each name by itself; opens its source for new names only.

    Args:
        scale: `unit_norm` divides each vector by its length; `unit_variance` then multiplies it by
            the square root of its number of elements; None leaves it as the source has it.

    Attributes:
        fingerprint: A digest of the source; None until a name was embedded.
    """

    def __init__(self, scale: Scale | None = None) -> None:
        require(
            scale in (None, "unit_norm", "unit_variance"),
            f"encoder.scale is {scale!r}; expected unit_norm, unit_variance or null.",
        )
        self.scale = scale
        self.fingerprint: str | None = None
        self._vectors: dict[str, Tensor] = {}
        self._origins: dict[str, str] = {}

    @property
    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """What makes this object again, besides `scale`: plain values."""

    @property
    def files(self) -> list[Path]:
        """The files of the source: if size or time of one changes, vectors are made again."""
        return []

    @property
    def takes_texts(self) -> bool:
        """Whether a label's vector is made of texts besides its name."""
        return False

    def texts_of(self, names: Sequence[str]) -> list[list[str]] | None:
        """Returns the texts of L names, which their vectors depend on; None if it takes none."""
        return None

    @abstractmethod
    def embed(self, names: Sequence[str]) -> Embedded:
        """Opens the source and makes the vectors of L names, before scaling.

        Raises:
            InputError: The source can't be read, or has no vector for a name.
        """

    @property
    def recipe(self) -> dict[str, Any]:
        """How the vectors are made: enough to make those of other names alike."""
        arguments = {**self.arguments, "scale": self.scale}
        return {
            "class_path": class_path(type(self)),
            "init_args": as_plain_values(arguments, type(self).__name__),
            "fingerprint": self.fingerprint,
        }

    def remember(self, names: Sequence[str], vectors: Tensor) -> None:
        """Makes `encode` return these float32 (L, W) vectors for these names."""
        self._vectors.update(zip(names, vectors, strict=True))

    def add_texts(self, texts: Mapping[str, Sequence[str]]) -> None:
        """Gives texts to labels, before those of the file; remembered vectors stay.

        Args:
            texts: One or more for each name.

        Raises:
            InputError: The vectors are made of names alone.
        """
        require(
            self.takes_texts,
            f"The labels are embedded by their names alone ({self.describe()}), so texts would "
            "lead astray; leave them out, or train with model.encoder.texts.",
        )
        for name in self._origins:
            del self._vectors[name]
        self._origins.clear()

    def without_texts(self) -> LabelEncoder:
        """Returns an encoder that embeds names alone, into vectors of the same kind."""
        return self

    def encode(self, names: Sequence[str]) -> Tensor:
        """Returns the float32 (L, W) vectors of L names, in their order.

        Raises:
            InputError: The source can't be read, is not the one of the recipe, or has no vector,
                or one of zeros, for a name.
        """
        new = [name for name in dict.fromkeys(names) if name not in self._vectors]
        if new:
            found = self._look_up(new)
            self._check(new, found)
            self.fingerprint = found.fingerprint
            self.remember(new, self._scaled(found.vectors))
            self._origins.update(zip(new, found.origins, strict=True))
        return torch.stack([self._vectors[name] for name in names])

    def origins(self, names: Sequence[str]) -> list[str]:
        """Returns what each name's vector was made of, e.g. `polar + bear`."""
        self.encode(names)
        return [self._origins.get(name, "the checkpoint") for name in names]

    def _look_up(self, names: Sequence[str]) -> Embedded:
        code = getattr(sys.modules[type(self).__module__], "__file__", None)
        if code is None:  # A notebook's, which may change.
            return self.embed(names)
        stats = [path.stat() for path in (*self.files, Path(code)) if path.is_file()]
        files = [(stat.st_size, stat.st_mtime_ns) for stat in stats]
        changing = {"fingerprint": None, "files": files, "texts": self.texts_of(names)}
        return cached({**self.recipe, **changing}, names, lambda: self.embed(names))

    def _check(self, names: Sequence[str], found: Embedded) -> None:
        if self.fingerprint not in (None, found.fingerprint):
            raise InputError(
                f"{self.describe()} has changed since the first labels were embedded ("
                f"{found.fingerprint}, then {self.fingerprint}); the vector of {names[0]!r} would "
                "not fit theirs; bring the old one back."
            )
        require(
            len(found.vectors) == len(names) == len(found.origins),
            f"{self.describe()} made {len(found.vectors)} vectors and {len(found.origins)} origins "
            f"of {len(names)} names; expected one of each for every name.",
        )
        size = found.vectors.abs().sum(dim=1)
        values = zip(names, size.tolist(), strict=True)
        if useless := [name for name, value in values if not 0 < value < float("inf")]:
            raise InputError(
                f"{self.describe()} has nothing but zeros, or numbers that are not finite, for the "
                f"label {useless[0]!r}; rename the label, or take another source." + others(useless)
            )

    def describe(self) -> str:
        """Names the source, for messages."""
        return " ".join([type(self).__name__, *map(repr, list(self.arguments.values())[:1])])

    def _scaled(self, vectors: Tensor) -> Tensor:
        if self.scale is None:
            return vectors
        vectors = torch.nn.functional.normalize(vectors)
        return vectors * vectors.shape[1] ** 0.5 if self.scale == "unit_variance" else vectors


def encoder_from_recipe(recipe: Mapping[str, Any], trust_code: bool = False) -> LabelEncoder:
    """Makes the encoder of a checkpoint, to embed new names like the old ones.

    It refuses a source with another fingerprint than the recipe's.

    Args:
        recipe: `class_path`, `init_args` and `fingerprint`.
        trust_code: Whether a class outside of zsl may be imported.

    Raises:
        InputError: The class can't be imported, or is not trusted.
    """
    arguments = dict(recipe["init_args"])
    if "encoders" in arguments:
        parts = arguments["encoders"]
        arguments["encoders"] = [encoder_from_recipe(part, trust_code) for part in parts]
    encoder: LabelEncoder = load_class(recipe["class_path"], LabelEncoder, trust_code)(**arguments)
    encoder.fingerprint = recipe["fingerprint"]
    return encoder
