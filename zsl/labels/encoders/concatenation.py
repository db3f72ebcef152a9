"""Label vectors of several kinds, side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch

from zsl.errors import require
from zsl.labels.encoders.cache import Embedded
from zsl.labels.encoders.encoder import LabelEncoder, Scale


class Concatenation(LabelEncoder):
    """Joins the vectors that several encoders make of a name.

    Args:
        encoders: The encoders; the `scale` of each weighs it against the others.
        scale: Of the result: `unit_norm`, `unit_variance`, or None to leave it.
    """

    def __init__(self, encoders: list[LabelEncoder], scale: Scale | None = None) -> None:
        super().__init__(scale)
        require(len(encoders) > 1, "model.encoder.encoders needs two encoders or more.")
        self.encoders = encoders

    @property
    def arguments(self) -> dict[str, Any]:
        """The recipes of the encoders."""
        return {"encoders": [encoder.recipe for encoder in self.encoders]}

    def _look_up(self, names: Sequence[str]) -> Embedded:
        # The parts are in the cache.
        return self.embed(names)

    def embed(self, names: Sequence[str]) -> Embedded:
        """Asks each encoder."""
        vectors = torch.cat([encoder.encode(names) for encoder in self.encoders], dim=1)
        columns = (encoder.origins(names) for encoder in self.encoders)
        origins = [" | ".join(parts) for parts in zip(*columns, strict=True)]
        parts = "".join(str(encoder.fingerprint) for encoder in self.encoders)
        return Embedded(vectors, origins, hashlib.sha256(parts.encode()).hexdigest()[:16])
