"""Fits what makes probabilities and decisions of logits, on validation images."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from zsl.metrics.calibration import logistic_regression
from zsl.models import Calibration
from zsl.models.calibration import LEVELS
from zsl.models.seen_labels import most_similar_seen

_log = logging.getLogger(__name__)
_MOST_IMAGES = 5000  # Enough for any label, and of thousands of labels a few seconds.
_MOST_ENTRIES = 2**26  # Of more labels fewer images, whose numbers take some gigabytes.
_OFFSET_VARIANCE = 0.3
_NEWTON_STEPS = 15
_FEW = 0.05


def fit_calibration(
    calibration: Calibration,
    scores: Tensor,
    targets: Tensor,
    means: Tensor,
    seen_vectors: Tensor | None,
) -> bool:
    """Fits probabilities and decisions of S seen and of other labels.

    The regression for labels that are not seen is fitted on seen and held-out ones, both kinds
    counting equally: held-out labels alone are often a handful.

    Args:
        calibration: Takes what is found; unchanged if nothing can be.
        scores: Logits (N, S + H) of validation images, for seen and held-out labels.
        targets: int8 (N, S + H).
        means: (S + H,), mean logits over the stored sample; 0 where there is none.
        seen_vectors: (S, W); None where the classes are fixed.

    Returns:
        Whether it was fitted: not if labels score no higher where they are present.
    """
    num_seen, num_labels = len(calibration.offsets), scores.shape[1]
    most_images = min(_MOST_IMAGES, max(1, _MOST_ENTRIES // num_labels))
    if len(scores) > most_images:
        rows = torch.randperm(len(scores), generator=torch.Generator().manual_seed(0))
        rows = rows[:most_images].sort().values
        scores, targets = scores[rows], targets[rows]
    scores, means = scores.double(), means.double().to(scores.device)
    is_seen = torch.arange(num_labels) < num_seen
    held_out = (targets[:, ~is_seen] == 1).any() and (targets[:, ~is_seen] == 0).any()
    seen = _regression(scores, targets, means, is_seen.double())
    others = seen
    if held_out and seen is not None:
        known = (targets >= 0).sum(dim=0)
        share = known[is_seen].sum() / known[~is_seen].sum()
        others = _regression(scores, targets, means, torch.where(is_seen, 1.0, share.double()))
    if seen is None or others is None:
        _log.info("No probabilities: the labels score no higher where they are present.")
        return False
    weights = torch.stack([seen, others])
    scale, of_mean, constant = weights[(~is_seen).long()].T
    log_odds = scores * scale + means * of_mean + constant
    offsets = _offsets(log_odds[:, :num_seen], targets[:, :num_seen])
    log_odds[:, :num_seen] += offsets
    calibration.weights.copy_(weights)
    calibration.offsets.copy_(offsets)
    for row, columns in enumerate((is_seen, ~is_seen if held_out else is_seen)):
        precision, recall = _at_levels(log_odds[:, columns].sigmoid(), targets[:, columns])
        calibration.precision[row] = precision
        calibration.recall[row] = recall
    if seen_vectors is not None and num_seen > 1:
        similarity, _ = most_similar_seen(seen_vectors, seen_vectors)
        calibration.least_similarity.copy_(similarity.quantile(_FEW))
    return True


def _regression(
    scores: Tensor, targets: Tensor, means: Tensor, label_weights: Tensor
) -> Tensor | None:
    """Returns weights float64 (3,) of logit, mean and 1; None if the first is not positive."""
    images, labels = ((targets >= 0) & (label_weights > 0)).nonzero(as_tuple=True)
    present = targets[images, labels] == 1
    if present.all() or not present.any():
        return None
    features = torch.stack([scores[images, labels], means[labels]], dim=1)
    found = logistic_regression(features, present, label_weights[labels])
    return found if found[0] > 0 else None


def _offsets(log_odds: Tensor, targets: Tensor) -> Tensor:
    """Returns what is added to the log-odds (N, S) of each label, (S,), with a Gaussian prior."""
    known, present = (targets >= 0).double(), (targets == 1).double()
    offsets = log_odds.new_zeros(log_odds.shape[1])
    for _ in range(_NEWTON_STEPS):
        p = (log_odds + offsets).sigmoid()
        gradient = ((present - p) * known).sum(dim=0) - offsets / _OFFSET_VARIANCE
        curvature = (p * (1 - p) * known).sum(dim=0) + 1 / _OFFSET_VARIANCE
        # Far from the optimum Newton's step can be too long.
        offsets = offsets + (gradient / curvature).clamp(-1, 1)
    return offsets


def _at_levels(probabilities: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Returns precision and recall of decisions at `LEVELS`, (141,).

    A wrong yes more than there was is counted, so that few right ones are no precision of 1.
    """
    level = torch.bucketize(probabilities.float(), LEVELS, right=True)  # How many it reaches.
    counts = [
        level[chosen].bincount(minlength=len(LEVELS) + 1).flip(0).cumsum(0).flip(0)[1:]
        for chosen in (targets == 1, targets >= 0)
    ]
    hits, predicted = (count.double() for count in counts)
    return hits / (predicted + 1), hits / (targets == 1).sum().clamp(min=1)
