"""Which labels a picture gets of all that were asked."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from zsl.errors import require

DEFAULT_TOP_K = 5


class Prediction(NamedTuple):
    """The labels of a picture, the best first."""

    labels: list[str]
    scores: list[float]


class Selection(NamedTuple):
    """What is kept of a picture's scores: the K best, those of a threshold or more, or both."""

    top_k: int | None
    threshold: float | None

    @classmethod
    def of(cls, top_k: int | None, threshold: float | None, are_probabilities: bool) -> Selection:
        """Takes the 5 best where neither is given.

        Raises:
            InputError: One is out of range.
        """
        require(top_k is None or top_k >= 1, f"top_k is {top_k}; expected 1 or more.")
        if threshold is not None:
            in_range = 0 <= threshold <= 1 if are_probabilities else math.isfinite(threshold)
            expected = "0 to 1, as the scores are" if are_probabilities else "a number"
            require(in_range, f"threshold is {threshold}; expected {expected}.")
        return cls(DEFAULT_TOP_K if top_k is None and threshold is None else top_k, threshold)

    def apply(self, logits: Tensor, scores: Tensor, names: list[str]) -> list[Prediction]:
        """Selects from logits (B, L), which rank, and scores (B, L), which are told."""
        if self.top_k is None:
            return [self._above(*row, names) for row in zip(logits, scores, strict=True)]
        places = logits.topk(min(self.top_k, logits.shape[1]), dim=1).indices
        best = scores.gather(1, places).tolist()
        rows = zip(places.tolist(), best, strict=True)
        return [self._named(*row, names) for row in rows]

    def _above(self, logits: Tensor, scores: Tensor, names: list[str]) -> Prediction:
        places = (scores >= torch.tensor(self.threshold)).nonzero().flatten()
        places = places[logits[places].argsort(descending=True, stable=True)]
        return self._named(places.tolist(), scores[places].tolist(), names)

    def _named(self, places: list[int], scores: list[float], names: list[str]) -> Prediction:
        least = -math.inf if self.threshold is None else self.threshold
        kept = [pair for pair in zip(places, scores, strict=True) if pair[1] >= least]
        return Prediction([names[place] for place, _ in kept], [score for _, score in kept])
