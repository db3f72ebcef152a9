"""How good probabilities of labels are, and decisions that are made of them.

Targets are 1 present, 0 absent, -1 unknown; unknown entries are left out of every figure.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zsl.metrics.average_precision import as_array, map_labels
from zsl.metrics.per_image import Counts, precision_recall_f1

_BINS = 15
_MOST_ENTRIES = 5_000_000


class Reliability(NamedTuple):
    """Predicted probabilities beside how often labels are present, in B bins of equal number."""

    predicted: Tensor
    """float64 (B,), mean probability of a bin."""
    present: Tensor
    """float64 (B,), share of its entries whose label is present."""
    numbers: Tensor
    """int64 (B,), entries."""

    @property
    def error(self) -> float:
        """The expected calibration error: mean absolute difference of the two, over entries."""
        gaps = (self.predicted - self.present).abs()
        return float((gaps * self.numbers).sum() / self.numbers.sum().clamp(min=1))


def reliability(probabilities: Tensor, targets: Tensor, bins: int = _BINS) -> Reliability:
    """Compares probabilities (N, L) with targets int8 (N, L), all labels together.

    Bins of equal number (Nguyen and O'Connor, arXiv 1508.05154), since most probabilities of a
    label are near 0. Of more than five million entries so many are drawn.
    """
    known = targets >= 0
    entries, present = probabilities[known], targets[known] == 1
    if len(entries) > _MOST_ENTRIES:
        drawn = torch.randint(
            len(entries), (_MOST_ENTRIES,), generator=torch.Generator().manual_seed(0)
        )
        entries, present = entries[drawn], present[drawn]
    order = entries.argsort()
    predicted, present = entries[order].double(), present[order].double()
    parts = predicted.tensor_split(bins), present.tensor_split(bins)
    numbers = torch.tensor([len(part) for part in parts[0]])
    means = [torch.stack([part.mean() for part in side])[numbers > 0] for side in parts]
    return Reliability(means[0], means[1], numbers[numbers > 0])


def decision_counts(yes: Tensor, targets: Tensor, dim: int = 0) -> Counts:
    """Counts decisions bool (N, L): of each label (`dim` 0) or of each image (1)."""
    predicted, present = yes & (targets >= 0), targets == 1
    return Counts(*(mask.sum(dim=dim) for mask in (predicted & present, predicted, present)))


def decision_figures(yes: Tensor, targets: Tensor) -> dict[str, float]:
    """Returns precision, recall and F1 of decisions bool (N, L), and the mean F1 of the labels.

    The first three count all images and labels together (micro); a label that is never present has
    F1 0 in the mean (macro).
    """
    counts = decision_counts(yes, targets)
    overall = precision_recall_f1(*(count.sum() for count in counts))
    macro = precision_recall_f1(*counts)[2].mean()
    values = [value.item() for value in (*overall, macro)]
    return dict(zip(("precision", "recall", "F1", "macro_F1"), values, strict=True))


def best_threshold(scores: Tensor, targets: Tensor) -> float:
    """Returns the one threshold for scores (N, L) with the highest micro F1: a yes is at or above.

    Halfway to the next lower score; infinite where no label is present.
    """
    return _best_threshold(as_array(scores).ravel(), targets.cpu().numpy().ravel())


def oracle_decisions(scores: Tensor, targets: Tensor) -> Tensor:
    """Returns bool (N, L), decisions at each label's best threshold by the targets themselves."""
    thresholds = map_labels(_best_threshold, as_array(scores), targets.cpu().numpy())
    return scores >= torch.tensor(thresholds, dtype=scores.dtype)


def _best_threshold(scores: NDArray[np.floating], targets: NDArray[np.int8]) -> float:
    positives, known = np.sort(scores[targets == 1]), np.sort(scores[targets >= 0])
    if not len(positives):
        return np.inf
    hits = len(positives) - np.searchsorted(positives, positives)
    predicted = len(known) - np.searchsorted(known, positives)
    best = positives[np.argmax(2 * hits / (predicted + len(positives)))]
    following = known[max(np.searchsorted(known, best) - 1, 0)]
    return (float(best) + float(following)) / 2
