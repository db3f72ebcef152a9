"""Scores made comparable between labels, for metrics that rank labels within an image (F1@K).

mAP ranks images within a label and doesn't need that; in GZSL labels that were trained can score
higher than others everywhere, or lower, and so be all of an image's best labels, or none. Both
remedies, stacking here and the probabilities of `zsl.models.Calibration`, are fitted on validation
images, with held-out labels in the place of unseen ones. They shift a label's scores or stretch
them, so they leave its ranking of images, and mAP, as they were.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from zsl.errors import InputError

_NUM_BIASES = 200
_MOST_ROWS = 500_000


def calibrated_stacking(scores: Tensor, targets: Tensor, is_seen: Tensor, k: int) -> float:
    """Finds what to take off the seen labels' scores for the best F1@K of all labels.

    Chao et al., "An Empirical Study and Analysis of Generalized Zero-Shot Learning for Object
    Recognition in the Wild", arXiv 1605.04253, with F1@K in place of accuracy.

    Args:
        scores: (N, L) of validation images, trained and held-out labels.
        targets: int8 (N, L).
        is_seen: bool (L,), the trained labels.
        k: The K of F1@K.

    Returns:
        The bias; 0 if no other is better.

    Raises:
        InputError: There is nothing to fit on.
    """
    check_fit(targets, is_seen)
    seen_scores, seen_targets = _best(scores[:, is_seen], targets[:, is_seen], k)
    other_scores, other_targets = _best(scores[:, ~is_seen], targets[:, ~is_seen], k)
    best_targets = torch.cat([seen_targets, other_targets], dim=1)

    def hits(bias: float) -> int:
        best = torch.cat([seen_scores - bias, other_scores], dim=1)
        best = best.topk(min(k, best.shape[1]), dim=1).indices
        return int((best_targets.gather(1, best) == 1).sum())

    # Numbers of predicted labels and positives don't change: the most hits are the best F1@K.
    gaps = (seen_scores.unsqueeze(2) - other_scores.unsqueeze(1)).flatten().numpy()
    levels = np.linspace(0, 1, _NUM_BIASES)
    return max([0.0, *np.quantile(gaps[np.isfinite(gaps)], levels).tolist()], key=hits)


def _best(scores: Tensor, targets: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The K best known scores (N, K) of each image and their targets; fewer of fewer labels."""
    best = scores.masked_fill(targets < 0, -torch.inf).topk(min(k, scores.shape[1]), dim=1)
    return best.values, targets.gather(1, best.indices)


def logistic_regression(features: Tensor, present: Tensor, weights: Tensor) -> Tensor:
    """Returns weights and bias float64 (F + 1,) of a logistic regression.

    Args:
        features: (N, F); of more than 500,000 rows some are drawn.
        present: bool (N,), both values.
        weights: (N,), how much each row counts.
    """
    from sklearn.linear_model import LogisticRegression  # Slow to import.

    if len(features) > _MOST_ROWS:
        rows = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))
        features, present, weights = (x[rows[:_MOST_ROWS]] for x in (features, present, weights))
    chosen = features.double().numpy()
    # Standardized features let the solver converge quickly.
    centre, scale = chosen.mean(axis=0), chosen.std(axis=0).clip(1e-6)
    model = LogisticRegression(C=1e4, max_iter=1000)
    model.fit((chosen - centre) / scale, present.numpy(), weights.double().numpy())
    found = model.coef_[0] / scale
    return torch.tensor([*found, model.intercept_[0] - found @ centre], dtype=torch.float64)


def check_fit(targets: Tensor, is_seen: Tensor) -> None:
    """Refuses to calibrate on nothing: targets int8 (N, L), of which some bool (L,) were trained.

    Raises:
        InputError: The trained or the held-out labels have no positive, or no known absence.
    """
    for name, part in (("seen", is_seen), ("held-out", ~is_seen)):
        for value, what in ((1, "present"), (0, "known to be absent")):
            if not (targets[:, part] == value).any():
                raise InputError(
                    f"Of {int(part.sum())} {name} labels none is {what} among {len(targets)} "
                    "validation images, so nothing can be calibrated on them; hold other labels "
                    "out, or leave the calibration out."
                )
