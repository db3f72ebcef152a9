"""Metrics of the labels predicted for an image: its K best ones, or those above a threshold.

Targets are 1 present, 0 absent, -1 unknown; unknown entries are left out of every figure.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from zsl.errors import require

THRESHOLD_NAMES = ("OP", "OR", "OF1", "CP", "CR", "CF1")
_IMAGES_AT_ONCE = 4096  # Bounds the memory.


class Counts(NamedTuple):
    """Numbers of labels of each image, int64 (N,): predicted and present, predicted, present."""

    hits: Tensor
    predicted: Tensor
    positives: Tensor


def counts_at_k(scores: Tensor, targets: Tensor, k: int) -> Counts:
    """Counts each image's K best labels; fewer where fewer are known.

    Args:
        scores: (N, L).
        targets: int8 (N, L).
        k: 1 to L.

    Raises:
        InputError: There are not that many labels.
    """
    check_k(k, scores.shape[1])
    parts = zip(scores.split(_IMAGES_AT_ONCE), targets.split(_IMAGES_AT_ONCE), strict=True)
    counts = [_counts_at_k(*part, k) for part in parts]
    return Counts(*(torch.cat(column) for column in zip(*counts, strict=True)))


def check_k(k: int, num_labels: int) -> None:
    """Refuses a K below 1 or above the number of labels.

    Raises:
        InputError: K is out of this range.
    """
    require(
        1 <= k <= num_labels,
        f"K is {k}, but there are {num_labels} labels; choose a K from 1 to {num_labels}.",
    )


def _counts_at_k(scores: Tensor, targets: Tensor, k: int) -> Counts:
    known = targets >= 0
    best = scores.masked_fill(~known, -torch.inf).topk(k, dim=1).indices
    hits = (targets.gather(1, best) == 1).sum(dim=1)
    return Counts(hits, known.sum(dim=1).clamp(max=k), (targets == 1).sum(dim=1))


def precision_recall_f1(
    hits: Tensor, predicted: Tensor, positives: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Precision, recall and F1 from counts, of any shape.

    P = hits / predicted, R = hits / positives and F1 = 2 hits / (predicted + positives); 0
    where nothing is predicted or present.
    """
    hits, predicted, positives = hits.double(), predicted.double(), positives.double()
    return (
        hits / predicted.clamp(min=1),
        hits / positives.clamp(min=1),
        2 * hits / (predicted + positives).clamp(min=1),
    )


def precision_recall_f1_at_k(scores: Tensor, targets: Tensor, k: int) -> tuple[float, float, float]:
    """Micro-averaged precision, recall and F1 of each image's K best labels.

    `P = hits / predicted labels`, `R = hits / positives`, over all images; K labels are predicted
    for an image, fewer where fewer are known. Gong et al., arXiv 1312.4894.

    Args:
        scores: (N, L).
        targets: int8 (N, L).
        k: 1 to L.

    Raises:
        InputError: There are not that many labels.
    """
    totals = (count.sum() for count in counts_at_k(scores, targets, k))
    precision, recall, f1 = precision_recall_f1(*totals)
    return precision.item(), recall.item(), f1.item()


def at_threshold(scores: Tensor, targets: Tensor, threshold: float = 0.5) -> dict[str, float]:
    """Precision, recall and F1 of the labels whose probability is above a threshold.

    Overall (`OP`, `OR`, `OF1`): counted over all images and labels. Per class (`CP`, `CR`): the
    mean of each label's precision and recall, 0 for a label that is never predicted or never
    present; `CF1` is the harmonic mean of the two. As in Chen et al. (ML-GCN), arXiv 1904.03582.

    Args:
        scores: Logits (N, L).
        targets: int8 (N, L).
        threshold: Between 0 and 1.

    Raises:
        InputError: The threshold is not between 0 and 1.
    """
    check_threshold(threshold)
    logit = torch.tensor(threshold, dtype=torch.float64).logit().item()
    predicted = (scores > logit) & (targets >= 0)
    hits = (predicted & (targets == 1)).sum(dim=0)
    counts = (hits, predicted.sum(dim=0), (targets == 1).sum(dim=0))
    overall = precision_recall_f1(*(count.sum() for count in counts))
    precision, recall, _ = (values.mean() for values in precision_recall_f1(*counts))
    figures = [*overall, precision, recall, harmonic_mean(precision, recall)]
    return dict(zip(THRESHOLD_NAMES, (figure.item() for figure in figures), strict=True))


def harmonic_mean(first: Tensor, second: Tensor) -> Tensor:
    """Harmonic mean of two tensors of one shape, at least 0 each; 0 where both are 0."""
    return 2 * first * second / (first + second).clamp(min=1e-12)


def check_threshold(threshold: float) -> None:
    """Refuses a threshold that is not between 0 and 1.

    Raises:
        InputError: It is 0 or below, or 1 or above.
    """
    require(0 < threshold < 1, f"The threshold is {threshold}; expected between 0 and 1.")


def coverage(scores: Tensor, targets: Tensor) -> float:
    """How many of its best labels an image needs, on average, until all its true ones are there.

    `1/N Σ_n |{l : s_nl >= min_{l true} s_nl}|` over the N images with a positive: scikit-learn's
    coverage error of these images. Less is better; 0 where no image has a positive.

    Args:
        scores: (N, L).
        targets: int8 (N, L).
    """
    parts = zip(scores.split(_IMAGES_AT_ONCE), targets.split(_IMAGES_AT_ONCE), strict=True)
    depth = sum(_depth(*part) for part in parts)
    return depth / max(1, int((targets == 1).any(dim=1).sum()))


def _depth(scores: Tensor, targets: Tensor) -> int:
    worst = scores.masked_fill(targets != 1, torch.inf).amin(dim=1, keepdim=True)
    return int(((scores >= worst) & (targets >= 0)).sum())
