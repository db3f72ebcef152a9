"""How good probabilities of labels are, and decisions that are made of them.

Targets are 1 present, 0 absent, -1 unknown; unknown entries are left out of every figure.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from zsl.metrics.per_image import Counts, precision_recall_f1

_BINS = 15


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
    label are near 0.
    """
    known = targets >= 0
    order = probabilities[known].argsort()
    predicted, present = probabilities[known][order].double(), (targets[known][order] == 1).double()
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
    known = targets >= 0
    order = scores[known].argsort(descending=True)
    ranked, present = scores[known][order], (targets[known][order] == 1).double()
    if not present.any():
        return torch.inf
    f1 = 2 * present.cumsum(0) / (torch.arange(1, len(ranked) + 1) + present.sum())
    # Equal scores are decided together.
    f1[:-1][ranked[:-1] == ranked[1:]] = -1
    last = int(f1.argmax())
    following = min(last + 1, len(ranked) - 1)
    return (ranked[last].item() + ranked[following].item()) / 2


def oracle_decisions(scores: Tensor, targets: Tensor) -> Tensor:
    """Returns bool (N, L), decisions at each label's best threshold by the targets themselves."""
    pairs = zip(scores.T, targets.T, strict=True)
    return torch.stack([s >= best_threshold(s[:, None], t[:, None]) for s, t in pairs], dim=1)
