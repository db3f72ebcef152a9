"""Ranking metrics of multi-label zero-shot learning.

mAP ranks images within a label, P/R/F1@K rank labels within an image. Targets are 1 present,
0 absent, -1 unknown; unknown entries are left out of every figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from zsl.errors import InputError

PROTOCOL = "all_images"
PROTOCOL_TEXT = "every image counts, a label without a positive counts as AP 0, ties are averaged"
KS = (3, 5)
_LABELS_AT_ONCE = 32  # Sorted together; bounds the memory.


def average_precision(scores: Tensor, targets: Tensor) -> Tensor:
    """Average precision of each label over all images, ties as in scikit-learn.

    `AP = Σ_t (R_t - R_{t-1}) P_t` over the distinct score thresholds t, descending.

    Args:
        scores: (N, L), any floating dtype.
        targets: int8 (N, L).

    Returns:
        float64 (L,); NaN for a label without a positive.
    """
    parts = zip(
        scores.split(_LABELS_AT_ONCE, dim=1), targets.split(_LABELS_AT_ONCE, dim=1), strict=True
    )
    return torch.cat([_average_precision(*part) for part in parts])


def _average_precision(scores: Tensor, targets: Tensor) -> Tensor:
    unknown = targets < 0
    # Unknown entries go to the end of the ranking, where they count neither way.
    ranked, order = scores.masked_fill(unknown, -torch.inf).sort(dim=0, descending=True)
    ranked_targets = targets.gather(0, order)
    hits = (ranked_targets == 1).double()
    true_positives = hits.cumsum(dim=0)
    asked = (ranked_targets >= 0).double().cumsum(dim=0)
    # The precision of a threshold is that at the last of its equal scores.
    is_last = torch.ones_like(ranked, dtype=torch.bool)
    is_last[:-1] = ranked[:-1] != ranked[1:]
    position = torch.arange(len(ranked), device=scores.device).unsqueeze(1)
    last = torch.where(is_last, position, len(ranked)).flip(0).cummin(dim=0).values.flip(0)
    precision = true_positives.gather(0, last) / asked.gather(0, last).clamp(min=1)
    return (hits * precision).sum(dim=0) / hits.sum(dim=0)


def precision_recall_f1_at_k(scores: Tensor, targets: Tensor, k: int) -> tuple[float, float, float]:
    """Micro-averaged precision, recall and F1 of each image's K best labels.

    `P = hits / labels asked`, `R = hits / positives`, over all images; K labels are asked of an
    image, fewer where fewer are known. Gong et al., arXiv 1312.4894.

    Args:
        scores: (N, L).
        targets: int8 (N, L).
        k: At most L.
    """
    unknown = targets < 0
    best = scores.masked_fill(unknown, -torch.inf).topk(k, dim=1).indices
    hits = (targets.gather(1, best) == 1).sum().item()
    asked = (targets >= 0).sum(dim=1).clamp(max=k).sum().item()
    return _precision_recall_f1(hits, asked, (targets == 1).sum().item())


def _precision_recall_f1(hits: float, asked: float, positives: float) -> tuple[float, float, float]:
    return hits / max(asked, 1), hits / max(positives, 1), 2 * hits / max(asked + positives, 1)


def prevalence(targets: Tensor) -> Tensor:
    """Part (L,) of the images with a known target int8 (N, L) that have the label."""
    return (targets == 1).sum(dim=0) / (targets >= 0).sum(dim=0).clamp(min=1)


def chance_level(targets: Tensor, ks: Sequence[int] = KS) -> dict[str, float]:
    """Expected mAP and P/R/F1@K of scores that say nothing.

    A constant score has the label's prevalence as AP; K labels drawn at random hit in
    proportion to an image's positives.

    Args:
        targets: int8 (N, L).
        ks: The K of P/R/F1@K; one above L is left out.
    """
    result = {"mAP": prevalence(targets).mean().item()}
    for k in _possible(ks, targets.shape[1]):
        known_labels = (targets >= 0).sum(dim=1)
        asked = known_labels.clamp(max=k)
        positives = (targets == 1).sum(dim=1)
        hits = (asked * positives / known_labels.clamp(min=1)).sum().item()
        result |= _named(k, _precision_recall_f1(hits, asked.sum().item(), positives.sum().item()))
    return result


def _possible(ks: Sequence[int], num_labels: int) -> list[int]:
    return [k for k in ks if k <= num_labels]


def _named(k: int, values: tuple[float, float, float]) -> dict[str, float]:
    return {f"{name}@{k}": value for name, value in zip(("P", "R", "F1"), values, strict=True)}


@dataclass(frozen=True)
class GroupResult:
    """Figures of the labels that are asked together."""

    num_labels: int
    num_empty: int
    """Labels without a positive."""
    metrics: dict[str, float]
    """mAP, P@3, R@3, F1@3, ... by name."""
    chance: dict[str, float]
    """The same of scores that say nothing."""


@dataclass(frozen=True)
class Evaluation:
    """Figures of one split."""

    num_images: int
    average_precision: Tensor
    """float64 (L,); NaN for a label without a positive."""
    groups: dict[str, GroupResult]

    @property
    def harmonic_map(self) -> float:
        """Harmonic mean of unseen (`zsl`) and `seen` mAP."""
        zsl, seen = (self.groups[name].metrics["mAP"] for name in ("zsl", "seen"))
        return 2 * zsl * seen / (zsl + seen) if zsl + seen > 0 else 0.0

    def logged(self, split: str) -> dict[str, float]:
        """The figures under their logged names, e.g. `test/zsl/F1@3`."""
        named = {
            f"{split}/{group}/{name}": value
            for group, result in self.groups.items()
            for name, value in result.metrics.items()
        }
        return named | {f"{split}/harmonic_mAP": self.harmonic_map}


def evaluate(
    scores: Tensor, targets: Tensor, groups: dict[str, list[int]], ks: Sequence[int] = KS
) -> Evaluation:
    """Ranking metrics of groups of labels, with their chance level.

    A label without a positive counts as AP 0, as in all published NUS-WIDE code. A K above the
    number of labels of a group is left out.

    Args:
        scores: (N, L), finite.
        targets: int8 (N, L).
        groups: By name, the columns asked together; `zsl` and `seen` are among them.
        ks: The K of P/R/F1@K.

    Raises:
        InputError: A score is not finite.
    """
    if not scores.isfinite().all():
        raise InputError(
            "The model's scores are not all finite numbers: the training diverged; lower "
            "model.learning_rate or take trainer.precision 32-true."
        )
    ap = average_precision(scores, targets)
    results = {}
    for name, columns in groups.items():
        group_scores, group_targets = scores[:, columns], targets[:, columns]
        metrics = {"mAP": ap[columns].nan_to_num(0).mean().item()}
        for k in _possible(ks, len(columns)):
            metrics |= _named(k, precision_recall_f1_at_k(group_scores, group_targets, k))
        results[name] = GroupResult(
            num_labels=len(columns),
            num_empty=int(ap[columns].isnan().sum()),
            metrics=metrics,
            chance=chance_level(group_targets, ks),
        )
    return Evaluation(len(scores), ap, results)


class Predictions(Metric):
    """Collects the scores and targets of a whole split, over all processes.

    Distributed samplers repeat images to make shares equal: an image is kept once.
    """

    full_state_update = False
    index: list[Tensor]
    scores: list[Tensor]
    targets: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ("index", "scores", "targets"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, index: Tensor, scores: Tensor, targets: Tensor) -> None:
        """Adds a batch: index int64 (B,), scores (B, L), kept as float32, targets int8 (B, L)."""
        self.index.append(index)
        self.scores.append(scores.float())
        self.targets.append(targets)

    def compute(self) -> tuple[list[int], Tensor, Tensor]:
        """Returns N indices, ascending, scores float32 (N, L) and targets int8 (N, L).

        Tensors are on the CPU, which has float64 and more memory than the device. The indices
        are a list, since torchmetrics makes a scalar of a tensor with one element.
        """
        index, order = dim_zero_cat(self.index).cpu().sort(stable=True)
        first = torch.ones_like(index, dtype=torch.bool)
        first[1:] = index[1:] != index[:-1]
        order = order[first]
        scores, targets = dim_zero_cat(self.scores).cpu(), dim_zero_cat(self.targets).cpu()
        return index[first].tolist(), scores[order], targets[order]
