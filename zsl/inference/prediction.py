"""Which of the scored labels an image gets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from zsl.errors import require

DEFAULT_TOP_K = 5


class Prediction(NamedTuple):
    """The labels of an image and their scores, the best first."""

    labels: list[str]
    scores: list[float]


class Selection(NamedTuple):
    """Keeps the K best labels of an image, those that reach a threshold, or both."""

    top_k: int | None
    threshold: float | Tensor | None
    """One for all labels, or (L,) of each."""
    abstains: bool = False
    """Whether images unlike those of the training get no label."""

    @classmethod
    def of(cls, top_k: int | None, threshold: float | None, are_probabilities: bool) -> Selection:
        """Checks the limits; the 5 best are kept where neither is given.

        Args:
            top_k: Most labels of an image.
            threshold: Lowest score of a label.
            are_probabilities: Whether scores are from 0 to 1.

        Raises:
            InputError: One is out of range.
        """
        require(top_k is None or top_k >= 1, f"top_k is {top_k}; expected 1 or more.")
        if threshold is not None:
            in_range = 0 <= threshold <= 1 if are_probabilities else math.isfinite(threshold)
            expected = "0 to 1, as the scores are" if are_probabilities else "a finite number"
            require(in_range, f"threshold is {threshold}; expected {expected}.")
        return cls(DEFAULT_TOP_K if top_k is None and threshold is None else top_k, threshold)

    def apply(
        self, logits: Tensor, scores: Tensor, names: list[str], are_unlike: Sequence[bool] = ()
    ) -> list[Prediction]:
        """Selects from L labels for each of B images.

        Args:
            logits: (B, L), for ranking: they differ where probabilities round to the same.
            scores: (B, L), to show and to compare with the threshold.
            names: Names of the L labels.
            are_unlike: Whether each of the images is unlike those of the training.
        """
        predictions = [self._select(*row, names) for row in zip(logits, scores, strict=True)]
        if self.abstains:
            pairs = zip(predictions, are_unlike, strict=True)
            return [Prediction([], []) if is_unlike else own for own, is_unlike in pairs]
        return predictions

    def _select(self, logits: Tensor, scores: Tensor, names: list[str]) -> Prediction:
        least = -math.inf if self.threshold is None else self.threshold
        indices = (scores >= least).nonzero().flatten()
        count = min(self.top_k or len(indices), len(indices))
        indices = indices[logits[indices].topk(count).indices]
        return Prediction([names[index] for index in indices.tolist()], scores[indices].tolist())
