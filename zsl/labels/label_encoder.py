"""What makes label vectors of label names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch

from zsl.labels.cache import cached_vectors


class LabelEncoder(ABC):
    """Embeds label names; its source is opened for names that are in no cache."""

    def __init__(self) -> None:
        self._known: dict[str, torch.Tensor] = {}

    @property
    @abstractmethod
    def recipe(self) -> dict[str, str]:
        """How the vectors are made: enough to make those of other names alike."""

    @abstractmethod
    def _embed(self, names: Sequence[str]) -> torch.Tensor:
        """Makes the float32 (L, W) vectors of L names."""

    def remember(self, names: Sequence[str], vectors: torch.Tensor) -> None:
        """Makes `encode` return these float32 (L, W) vectors for these names."""
        self._known.update(zip(names, vectors, strict=True))

    def encode(self, names: Sequence[str]) -> torch.Tensor:
        """Returns the float32 (L, W) vectors of L names, in their order.

        Raises:
            InputError: The source can't be had, or has no vector for a name.
        """
        new = [name for name in dict.fromkeys(names) if name not in self._known]
        if new:
            self.remember(new, cached_vectors(self.recipe, new, lambda: self._embed(new)))
        return torch.stack([self._known[name] for name in names])
