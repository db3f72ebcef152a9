"""Where the scores of unseen labels go wrong: on which images, and below which other labels."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from scipy.stats import ConstantInputWarning, spearmanr
from torch import Tensor

_ENTRIES_AT_ONCE = 2**22


@dataclass(frozen=True)
class Examples:
    """Images that a label scores high, and positives that it scores low."""

    best: list[int]
    """Its highest-scored images, the best first."""
    missed: dict[int, int]
    """Ranks of the positives that it scores lowest, the lowest first; none is among the best."""
    num_known: int
    """Images that were ranked."""


def examples(scores: Tensor, targets: Tensor, num_best: int, num_missed: int) -> Examples:
    """Picks example images of a label; images with an unknown target are left out.

    A rank counts the images that score as high or higher, as average precision does.

    Args:
        scores: (N,).
        targets: int8 (N,).
        num_best: Number of highest-scored images, at most.
        num_missed: Number of lowest-scored positives, at most.
    """
    known = (targets >= 0).nonzero().flatten()
    ranking = known[scores[known].argsort(descending=True, stable=True)]
    best = ranking[:num_best].tolist()
    positives = ranking[targets[ranking] == 1].flip(0).tolist()
    missed = [image for image in positives if image not in best][:num_missed]
    ranks = {image: int((scores[known] >= scores[image]).sum()) for image in missed}
    return Examples(best, ranks, len(known))


def shares_above(scores: Tensor, targets: Tensor, labels: list[int], others: list[int]) -> Tensor:
    """How often labels that are absent score higher than a label that is present.

    Args:
        scores: (N, L).
        targets: int8 (N, L).
        labels: U columns of labels that are present.
        others: S columns of labels to compare with.

    Returns:
        float64 (U, S): of the images with label u, the share in which label s is absent and
        scores higher; NaN for a label without a positive.
    """
    result = torch.full((len(labels), len(others)), torch.nan, dtype=torch.float64)
    for row, label in enumerate(labels):
        images = (targets[:, label] == 1).nonzero().flatten()
        if not len(images):
            continue
        result[row] = 0
        for part in images.split(max(1, _ENTRIES_AT_ONCE // max(1, len(others)))):
            is_above = scores[part][:, others] > scores[part, label].unsqueeze(1)
            result[row] += (is_above & (targets[part][:, others] == 0)).sum(dim=0)
        result[row] /= len(images)
    return result


def rank_correlation(first: Tensor, second: Tensor) -> float | None:
    """Spearman's rank correlation of two (L,); None for L below 5, or if one is constant."""
    if len(first) < 5:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        correlation = float(spearmanr(first.numpy(), second.numpy()).statistic)
    return None if correlation != correlation else correlation
