"""Label vectors of several kinds, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from zsl.errors import require
from zsl.files.digests import text_digest
from zsl.labels.encoders.cache import Embedded
from zsl.labels.encoders.encoder import LabelEncoder, Scale


class Concatenation(LabelEncoder):
    """Joins the vectors that several encoders make of a name, one after the other.

    Args:
        encoders: The encoders; the `scale` of each weighs it against the others.
        scale: Scale of the result: `unit_norm`, `unit_variance`, or None to leave it.
    """

    def __init__(self, encoders: list[LabelEncoder], scale: Scale | None = None) -> None:
        super().__init__(scale)
        require(len(encoders) > 1, "encoder.encoders needs two encoders or more.")
        self.encoders = encoders

    @property
    def arguments(self) -> dict[str, Any]:
        """The recipes of the encoders."""
        return {"encoders": [encoder.recipe for encoder in self.encoders]}

    @property
    def takes_texts(self) -> bool:
        """Whether one of the encoders does."""
        return any(encoder.takes_texts for encoder in self.encoders)

    def without_texts(self) -> Concatenation:
        """Returns the encoders side by side that embed names alone."""
        return Concatenation([encoder.without_texts() for encoder in self.encoders], self.scale)

    def add_texts(self, texts: Mapping[str, Sequence[str]]) -> None:
        """Gives texts to labels, for the encoders that take any."""
        super().add_texts(texts)
        for encoder in self.encoders:
            if encoder.takes_texts:
                encoder.add_texts(texts)

    def _look_up(self, names: Sequence[str]) -> Embedded:
        # Not cached as a whole, since its parts are.
        return self.embed(names)

    def embed(self, names: Sequence[str]) -> Embedded:
        """Joins the vectors of the encoders, each scaled as its encoder says."""
        vectors = torch.cat([encoder.encode(names) for encoder in self.encoders], dim=1)
        columns = (encoder.origins(names) for encoder in self.encoders)
        origins = [" | ".join(parts) for parts in zip(*columns, strict=True)]
        fingerprint = text_digest(str(encoder.fingerprint) for encoder in self.encoders)
        return Embedded(vectors, origins, fingerprint)
