"""The figures of one split: groups of labels asked together, each beside its chance level.

mAP ranks images within a label, P/R/F1@K rank labels within an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from zsl.errors import InputError
from zsl.metrics.per_image import (
    at_threshold,
    coverage,
    harmonic_mean,
    precision_recall_f1,
    precision_recall_f1_at_k,
)
from zsl.metrics.protocol import Protocol

T = TypeVar("T")
KS = (3, 5)
THRESHOLD = 0.5


def prevalence(targets: Tensor) -> Tensor:
    """Part (L,) of the images with a known target int8 (N, L) that have the label."""
    return (targets == 1).sum(dim=0) / (targets >= 0).sum(dim=0).clamp(min=1)


def chance_level(
    targets: Tensor, ks: Sequence[int] = KS, protocol: Protocol | None = None
) -> dict[str, float]:
    """Expected mAP and P/R/F1@K of scores that say nothing.

    A constant score has the label's prevalence as AP; K labels drawn at random hit in
    proportion to an image's positives.

    Args:
        targets: int8 (N, L) of the images that count.
        ks: The K of P/R/F1@K; one above L is left out.
        protocol: How labels without a positive count.
    """
    constant = prevalence(targets).double()
    constant[~(targets == 1).any(dim=0)] = torch.nan
    result = {"mAP": (protocol or Protocol()).mean(constant).item()}
    known, positives = (targets >= 0).sum(dim=1), (targets == 1).sum(dim=1)
    for k in possible_ks(ks, targets.shape[1]):
        asked = known.clamp(max=k)
        hits = (asked * positives / known.clamp(min=1)).sum()
        figures = precision_recall_f1(hits, asked.sum(), positives.sum())
        result |= at_k_names(k, [figure.item() for figure in figures])
    return result


def possible_ks(ks: Sequence[int], num_labels: int) -> list[int]:
    """The K of which a group has as many labels."""
    return [k for k in ks if k <= num_labels]


def at_k_names(k: int, values: Sequence[T]) -> dict[str, T]:
    """Names precision, recall and F1 `P@K`, `R@K` and `F1@K`."""
    return {f"{name}@{k}": value for name, value in zip(("P", "R", "F1"), values, strict=True)}


@dataclass(frozen=True)
class GroupResult:
    """Figures of the labels that are asked together."""

    num_images: int
    """Images that count under the protocol."""
    num_labels: int
    num_empty: int
    """Labels without a positive among these images."""
    metrics: dict[str, float]
    """mAP; P@3, R@3, F1@3, ...; OP, OR, OF1, CP, CR, CF1 at `THRESHOLD`; coverage."""
    chance: dict[str, float]
    """mAP and P/R/F1@K of scores that say nothing."""


@dataclass(frozen=True)
class Evaluation:
    """Figures of one split."""

    protocol: Protocol
    num_images: int
    average_precision: Tensor
    """float64 (L,), over all images; NaN for a label without a positive."""
    groups: dict[str, GroupResult]

    @property
    def harmonic_map(self) -> float:
        """Harmonic mean of unseen (`zsl`) and `seen` mAP."""
        maps = [self.groups[name].metrics["mAP"] for name in ("zsl", "seen")]
        return harmonic_mean(*torch.tensor(maps, dtype=torch.float64)).item()

    def logged(self, split: str) -> dict[str, float]:
        """The figures under their logged names, e.g. `test/zsl/F1@3`."""
        named = {
            f"{split}/{group}/{name}": value
            for group, result in self.groups.items()
            for name, value in result.metrics.items()
        }
        return named | {f"{split}/harmonic_mAP": self.harmonic_map}


def evaluate(
    scores: Tensor,
    targets: Tensor,
    groups: dict[str, list[int]],
    ks: Sequence[int] = KS,
    protocol: Protocol | None = None,
) -> Evaluation:
    """Metrics of groups of labels, with their chance level.

    A K above the number of labels of a group is left out.

    Args:
        scores: Logits (N, L), finite.
        targets: int8 (N, L).
        groups: By name, the columns asked together; `zsl` and `seen` are among them.
        ks: The K of P/R/F1@K.
        protocol: What counts; the default is that of BiAM, but for ties.

    Raises:
        InputError: A score is not finite.
    """
    check_finite(scores)
    protocol = protocol or Protocol()
    ap = protocol.average_precision(scores, targets)
    results = {}
    for name, columns in groups.items():
        asked_scores, asked_targets, group_ap = scores[:, columns], targets[:, columns], ap[columns]
        if protocol.images == "labelled_images":
            kept = protocol.images_kept(asked_targets)
            asked_scores, asked_targets = asked_scores[kept], asked_targets[kept]
            group_ap = protocol.average_precision(asked_scores, asked_targets)
        metrics = {"mAP": protocol.mean(group_ap).item()}
        for k in possible_ks(ks, len(columns)):
            metrics |= at_k_names(k, precision_recall_f1_at_k(asked_scores, asked_targets, k))
        metrics |= at_threshold(asked_scores, asked_targets, THRESHOLD)
        metrics["coverage"] = coverage(asked_scores, asked_targets)
        results[name] = GroupResult(
            num_images=len(asked_targets),
            num_labels=len(columns),
            num_empty=int(group_ap.isnan().sum()),
            metrics=metrics,
            chance=chance_level(asked_targets, ks, protocol),
        )
    return Evaluation(protocol, len(scores), ap, results)


def check_finite(scores: Tensor) -> None:
    """Refuses scores (N, L) that are no numbers.

    Raises:
        InputError: A score is not finite.
    """
    broken = ~scores.isfinite()
    if broken.any():
        image, label = (int(place) for place in broken.nonzero()[0])
        raise InputError(
            f"{int(broken.sum()):,} of {scores.numel():,} scores are not finite numbers, the first "
            f"that of image {image} and label {label}, counted from 0: the training diverged; "
            "lower model.learning_rate or take trainer.precision 32-true."
        )
