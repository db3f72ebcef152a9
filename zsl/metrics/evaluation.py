"""The figures of one split: groups of labels evaluated together, each beside its chance level.

mAP ranks images within a label, P/R/F1@K rank labels within an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
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
    """Share (L,) of the images with a known target int8 (N, L) that have the label."""
    return (targets == 1).sum(dim=0) / (targets >= 0).sum(dim=0).clamp(min=1)


def chance_level(
    targets: Tensor, ks: Sequence[int] = KS, protocol: Protocol | None = None
) -> dict[str, float]:
    """Expected mAP and P/R/F1@K of uninformative scores.

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
        predicted = known.clamp(max=k)
        hits = (predicted * positives / known.clamp(min=1)).sum()
        figures = precision_recall_f1(hits, predicted.sum(), positives.sum())
        result |= at_k_names(k, [figure.item() for figure in figures])
    return result


def possible_ks(ks: Sequence[int], num_labels: int) -> list[int]:
    """Returns the K that are at most the number of labels."""
    return [k for k in ks if k <= num_labels]


def at_k_names(k: int, values: Sequence[T]) -> dict[str, T]:
    """Names precision, recall and F1 `P@K`, `R@K` and `F1@K`."""
    return {f"{name}@{k}": value for name, value in zip(("P", "R", "F1"), values, strict=True)}


@dataclass(frozen=True)
class GroupResult:
    """Figures of labels that are evaluated together."""

    num_images: int
    """Images that count under the protocol."""
    num_labels: int
    num_empty: int
    """Labels without a positive among these images."""
    metrics: dict[str, float]
    """mAP; P@3, R@3, F1@3, ...; OP, OR, OF1, CP, CR, CF1 at `THRESHOLD`; coverage."""
    chance: dict[str, float]
    """mAP and P/R/F1@K of uninformative scores."""


@dataclass(frozen=True)
class Evaluation:
    """Figures of one split under one protocol."""

    protocol: Protocol
    num_images: int
    average_precision: Tensor
    """float64 (L,), over all images; NaN for a label without a positive."""
    groups: dict[str, GroupResult]
    calibration: str = ""
    """How the scores were calibrated; empty for raw scores."""
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    """95 % intervals by the names of `figures`, where a bootstrap made them."""

    @property
    def harmonic_map(self) -> float | None:
        """Harmonic mean of the mAP of the groups `zsl` and `seen`; None unless both are there."""
        if not {"zsl", "seen"} <= self.groups.keys():
            return None
        maps = [self.groups[name].metrics["mAP"] for name in ("zsl", "seen")]
        return harmonic_mean(*torch.tensor(maps, dtype=torch.float64)).item()

    @property
    def figures(self) -> dict[str, float]:
        """All figures by group and metric, e.g. `zsl/F1@3`, and `harmonic_mAP` if there is one."""
        figures = {
            f"{group}/{name}": value
            for group, result in self.groups.items()
            for name, value in result.metrics.items()
        }
        harmonic = self.harmonic_map
        return figures if harmonic is None else figures | {"harmonic_mAP": harmonic}

    def logged(self, split: str) -> dict[str, float]:
        """Returns the figures under their logged names, e.g. `test/zsl/F1@3`."""
        return {f"{split}/{name}": value for name, value in self.figures.items()}


def evaluate(
    scores: Tensor,
    targets: Tensor,
    groups: dict[str, list[int]],
    ks: Sequence[int] = KS,
    protocol: Protocol | None = None,
) -> Evaluation:
    """Computes the metrics of groups of labels, and their chance level.

    Args:
        scores: Logits (N, L), finite.
        targets: int8 (N, L).
        groups: By name, the columns evaluated together. The names are free; of `zsl` and `seen`
            there is a harmonic mean too.
        ks: The K of P/R/F1@K; one above the number of labels of a group is left out.
        protocol: What counts; the default is that of BiAM, but for ties.

    Raises:
        InputError: A score is not finite.
    """
    check_finite(scores)
    protocol = protocol or Protocol()
    ap = protocol.average_precision(scores, targets)
    results = {
        name: _group_result(scores[:, columns], targets[:, columns], ap[columns], ks, protocol)
        for name, columns in groups.items()
    }
    return Evaluation(protocol, len(scores), ap, results)


def _group_result(
    scores: Tensor, targets: Tensor, ap: Tensor, ks: Sequence[int], protocol: Protocol
) -> GroupResult:
    if protocol.images == "labelled_images":
        kept = protocol.images_kept(targets)
        scores, targets = scores[kept], targets[kept]
        ap = protocol.average_precision(scores, targets)
    metrics = {"mAP": protocol.mean(ap).item()}
    for k in possible_ks(ks, len(ap)):
        metrics |= at_k_names(k, precision_recall_f1_at_k(scores, targets, k))
    metrics |= at_threshold(scores, targets, THRESHOLD)
    metrics["coverage"] = coverage(scores, targets)
    return GroupResult(
        num_images=len(targets),
        num_labels=len(ap),
        num_empty=int(ap.isnan().sum()),
        metrics=metrics,
        chance=chance_level(targets, ks, protocol),
    )


def check_finite(scores: Tensor) -> None:
    """Refuses scores (N, L) that are not finite numbers.

    Raises:
        InputError: A score is infinite or NaN.
    """
    broken = ~scores.isfinite()
    if broken.any():
        image, label = broken.nonzero()[0].tolist()
        raise InputError(
            f"{int(broken.sum()):,} of {scores.numel():,} scores are not finite numbers, the first "
            f"that of image {image} and label {label}, counted from 0: the training diverged; "
            "lower the learning rate, or train in 32-bit precision."
        )
