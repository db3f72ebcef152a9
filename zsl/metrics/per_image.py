"""Metrics of the labels predicted for an image: its K best ones, those above a threshold, or both.

Targets are 1 present, 0 absent, -1 unknown; unknown entries are left out of every figure.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from zsl.errors import InputError, require
from zsl.metrics.known_targets import count_true, known_parts, pairs

THRESHOLD_NAMES = ("OP", "OR", "OF1", "CP", "CR", "CF1")


class Counts(NamedTuple):
    """Predicted and present, predicted, present: labels of each image, or images of each label."""

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
    counts = [_counts_at_k(own.scores, own.targets, k) for own in known_parts(scores, targets, k)]
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
    return Counts(hits, count_true(known, 1).clamp(max=k), count_true(targets == 1, 1))


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


def at_threshold(
    scores: Tensor, targets: Tensor, threshold: float = 0.5, k: int | None = None
) -> dict[str, float]:
    """Precision, recall and F1 of the labels whose probability is above a threshold.

    Overall (`OP`, `OR`, `OF1`): counted over all images and labels. Per class (`CP`, `CR`): the
    mean of each label's precision and recall, 0 for a label that is never predicted or never
    present; `CF1` is the harmonic mean of the two. As in Chen et al. (ML-GCN), arXiv 1904.03582;
    their code counts a label that is never predicted as predicted once in `OP`.

    Args:
        scores: Logits (N, L).
        targets: int8 (N, L).
        threshold: Between 0 and 1.
        k: Leaves only an image's K best labels of them, as ML-GCN's top-3 figures have it; these
            are called `OP@3` and so on. Which of equal scores are the best is not defined.

    Raises:
        InputError: The threshold is not between 0 and 1, or there are fewer labels than K.
    """
    check_threshold(threshold)
    counts = torch.zeros(3, scores.shape[1], dtype=torch.int64, device=scores.device)
    if k is not None:
        check_k(k, scores.shape[1])
    for own in known_parts(scores, targets, k or 1):
        predicted, present = (
            predicted_labels(own.scores, own.targets, threshold, k),
            own.targets == 1,
        )
        masks = predicted & present, predicted, present
        counts += torch.stack([own.count_by_label(mask) for mask in masks])
    return {name: value.item() for name, value in threshold_figures(Counts(*counts), k).items()}


def predicted_labels(
    scores: Tensor, targets: Tensor, threshold: float = 0.5, k: int | None = None
) -> Tensor:
    """Returns bool (N, L): known, above a threshold and, given K, among the image's K best."""
    known = targets >= 0
    logit = torch.tensor(threshold, dtype=torch.float64).logit().item()
    predicted = (scores > logit) & known
    if k is None:
        return predicted
    check_k(k, scores.shape[1])
    best = scores.masked_fill(~known, -torch.inf).topk(k, dim=1).indices
    return torch.zeros_like(predicted).scatter_(1, best, predicted.gather(1, best))


def threshold_figures(counts: Counts, k: int | None = None) -> dict[str, Tensor]:
    """OP, OR, OF1, CP, CR and CF1 (...) from counts (L, ...) of each label, by these names."""
    overall = precision_recall_f1(*(count.sum(dim=0) for count in counts))
    precision, recall, _ = (values.mean(dim=0) for values in precision_recall_f1(*counts))
    figures = [*overall, precision, recall, harmonic_mean(precision, recall)]
    names = [name if k is None else f"{name}@{k}" for name in THRESHOLD_NAMES]
    return dict(zip(names, figures, strict=True))


def accuracy_at_k(scores: Tensor, targets: Tensor, k: int) -> float:
    """Share of the images whose one label is among the K that score highest.

    Labels of equal score count as in random order: of t that tie for the last r places, an image's
    label has one with probability r / t. So a constant score has the accuracy of guessing, K / L.

    Args:
        scores: (N, L).
        targets: int8 (N, L), one label present in each image.
        k: 1 to L.

    Returns:
        The share; 0 where there is no image.

    Raises:
        InputError: There are not that many labels, or an image has none or several.
    """
    found = found_at_k(scores, targets, k)
    return found.mean().item() if len(found) else 0.0


def found_at_k(scores: Tensor, targets: Tensor, k: int) -> Tensor:
    """Probability float64 (N,) that an image's label is among its K best; see `accuracy_at_k`."""
    check_k(k, scores.shape[1])
    found = [_found_at_k(*own, k) for own in pairs(scores, targets)]
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.float64)


def _found_at_k(scores: Tensor, targets: Tensor, k: int) -> Tensor:
    present = targets == 1
    numbers = present.sum(dim=1)
    if (numbers != 1).any():
        raise InputError(
            f"An image has {numbers[numbers != 1][0]} labels, but accuracy is of images that have "
            "one each; set single_label to false."
        )
    own = scores[present].unsqueeze(1)
    known = targets >= 0
    above = ((scores > own) & known).sum(dim=1)
    ties = ((scores == own) & known).sum(dim=1)
    return ((k - above) / ties.double()).clamp(0, 1)


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
    depth = num_images = 0
    for own in known_parts(scores, targets):
        present = own.targets == 1
        worst = own.scores.masked_fill(~present, torch.inf).amin(dim=1, keepdim=True)
        depth += int(((own.scores >= worst) & (own.targets >= 0)).sum())
        num_images += int(present.any(dim=1).sum())
    return depth / max(1, num_images)
