"""The figures of one split: groups of labels evaluated together, each beside its chance level.

mAP ranks images within a label, P/R/F1@K and accuracy rank labels within an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import torch
from torch import Tensor

from zsl.errors import InputError
from zsl.metrics.groups import FIXED, untrained_group
from zsl.metrics.known_targets import count_true, known_parts, parts
from zsl.metrics.per_image import (
    accuracy_at_k,
    at_threshold,
    coverage,
    harmonic_mean,
    precision_recall_f1,
    precision_recall_f1_at_k,
)
from zsl.metrics.protocol import Protocol, label_counts

T = TypeVar("T")
KS = (3, 5)
ACCURACY_KS = (1, 5)
THRESHOLD = 0.5
THRESHOLD_K = 3
"""Of fixed classes, the figures at the threshold are given for the K best labels too."""


def prevalence(targets: Tensor) -> Tensor:
    """Share (L,) of the images with a known target int8 (N, L) that have the label."""
    positives, negatives = label_counts(targets)
    return positives / (positives + negatives).clamp(min=1)


def chance_level(
    targets: Tensor,
    ks: Sequence[int] | None = None,
    protocol: Protocol | None = None,
    single_label: bool = False,
) -> dict[str, float]:
    """Expected mAP and P/R/F1@K, or accuracy, of uninformative scores.

    A constant score has the label's prevalence as AP; K labels drawn at random hit in
    proportion to an image's positives.

    Args:
        targets: int8 (N, L) of the images that count.
        ks: The K, as `evaluate` has them; one above L is left out.
        protocol: Which labels count in mAP, and how much.
        single_label: Whether each image has one label, of which there is the accuracy.
    """
    protocol = protocol or Protocol()
    positives, negatives = label_counts(targets)
    constant = positives.double() / (positives + negatives).clamp(min=1)
    constant[positives == 0] = torch.nan
    if protocol.empty == "two_sided":
        constant[negatives == 0] = torch.nan
    result = {"mAP": protocol.mean(constant, positives).item()}
    num_labels = targets.shape[1]
    ks = possible_ks(default_ks(ks, single_label), num_labels)
    if single_label:
        return result | {f"Acc@{k}": k / num_labels for k in ks}
    by_image = [
        (count_true(own.targets >= 0, 1), count_true(own.targets == 1, 1))
        for own in known_parts(targets, targets)
    ]
    known, positives = (torch.cat(counts) for counts in zip(*by_image, strict=True))
    for k in ks:
        predicted = known.clamp(max=k)
        hits = (predicted * positives / known.clamp(min=1)).sum()
        figures = precision_recall_f1(hits, predicted.sum(), positives.sum())
        result |= at_k_names(k, [figure.item() for figure in figures])
    return result


def default_ks(ks: Sequence[int] | None, single_label: bool) -> Sequence[int]:
    """Returns the K that are asked for, or where none are those that are usually published."""
    if ks is not None:
        return ks
    return ACCURACY_KS if single_label else KS


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
    """Labels without a positive among these images or, where the protocol is two-sided, without
    a negative."""
    metrics: dict[str, float]
    """mAP; P@3, R@3, F1@3, ...; OP, OR, OF1, CP, CR, CF1 at `THRESHOLD`, of fixed classes also
    OP@3, ...; coverage. Where each image has one label: mAP, Acc@1, Acc@5, coverage."""
    chance: dict[str, float]
    """mAP and P/R/F1@K, or accuracy, of uninformative scores."""


@dataclass(frozen=True)
class MostFrequent:
    """What the same most frequent labels for every image reach: see `most_frequent_scores`."""

    figures: dict[str, float]
    """mAP, P/R/F1@K and OF1, or accuracy, by the names of `Evaluation.figures`."""
    source: str
    """Which labels these are, in words."""
    gains: dict[str, tuple[float, float]] = field(default_factory=dict)
    """95 % intervals of how much higher the evaluation's own figures are, where a bootstrap made
    them: of F1@K, OF1 and the accuracy."""


@dataclass(frozen=True)
class Evaluation:
    """Figures of one split under one protocol."""

    protocol: Protocol
    num_images: int
    average_precision: Tensor
    """float64 (L,), over all images; NaN for a label that is empty under the protocol."""
    groups: dict[str, GroupResult]
    calibration: str = ""
    """How the scores were calibrated; empty for raw scores."""
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    """95 % intervals by the names of `figures`, where a bootstrap made them."""
    most_frequent: MostFrequent | None = None
    """The floor; None where it was not computed."""

    @property
    def harmonic_map(self) -> float | None:
        """Harmonic mean of the mAP of untrained and seen labels; None unless both are there."""
        untrained = untrained_group(self.groups)
        if untrained is None or "seen" not in self.groups:
            return None
        maps = [self.groups[name].metrics["mAP"] for name in (untrained, "seen")]
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
    ks: Sequence[int] | None = None,
    protocol: Protocol | None = None,
    single_label: bool = False,
) -> Evaluation:
    """Computes the metrics of groups of labels, and their chance level.

    Args:
        scores: Logits (N, L), finite.
        targets: int8 (N, L).
        groups: By name, the columns evaluated together. The names are free; of `zsl` (or
            `held_out`) and `seen` there is a harmonic mean too; `all` is that of fixed classes.
        ks: The K of P/R/F1@K, or of the accuracy; one above the number of labels of a group is left
            out. None takes 3 and 5, or 1 and 5.
        protocol: What counts; the default is that of BiAM, but for ties.
        single_label: Whether each image has one label, so that there is the accuracy in place of
            what is for several. mAP compares a label's scores between images: of a softmax give
            the logarithms, since its logits may be shifted in each image.

    Raises:
        InputError: A score is not finite, or an image has not the one label it should have.
    """
    check_finite(scores)
    protocol = protocol or Protocol()
    ks = default_ks(ks, single_label)
    ap = protocol.average_precision(scores, targets)
    results = {
        name: _group_result(
            of_columns(scores, columns),
            of_columns(targets, columns),
            ap[columns],
            possible_ks(ks, len(columns)),
            protocol,
            kind="single_label" if single_label else "fixed" if name == FIXED else "zero_shot",
        )
        for name, columns in groups.items()
    }
    return Evaluation(protocol, len(scores), ap, results)


def of_columns(matrix: Tensor, columns: list[int]) -> Tensor:
    """Columns of a matrix, without a copy where they are neighbours."""
    first, last = (columns[0], columns[-1] + 1) if columns else (0, 0)
    return matrix[:, first:last] if columns == list(range(first, last)) else matrix[:, columns]


def _group_result(
    scores: Tensor,
    targets: Tensor,
    ap: Tensor,
    ks: Sequence[int],
    protocol: Protocol,
    kind: Literal["zero_shot", "fixed", "single_label"],
) -> GroupResult:
    if protocol.images == "labelled_images":
        kept = protocol.images_kept(targets)
        scores, targets = scores[kept], targets[kept]
        ap = protocol.average_precision(scores, targets)
    positives, _ = label_counts(targets)
    metrics = {"mAP": protocol.mean(ap, positives.cpu()).item()}
    if kind == "single_label":
        for k in ks:
            metrics[f"Acc@{k}"] = accuracy_at_k(scores, targets, k)
    else:
        for k in ks:
            metrics |= at_k_names(k, precision_recall_f1_at_k(scores, targets, k))
        metrics |= at_threshold(scores, targets, THRESHOLD)
        if kind == "fixed" and len(ap) >= THRESHOLD_K:
            metrics |= at_threshold(scores, targets, THRESHOLD, THRESHOLD_K)
    metrics["coverage"] = coverage(scores, targets)
    return GroupResult(
        num_images=len(targets),
        num_labels=len(ap),
        num_empty=int(ap.isnan().sum()),
        metrics=metrics,
        chance=chance_level(targets, ks, protocol, kind == "single_label"),
    )


def check_finite(scores: Tensor) -> None:
    """Refuses scores (N, L) that are not finite numbers.

    Raises:
        InputError: A score is infinite or NaN.
    """
    # A finite sum has finite terms, and takes a twentieth of the time.
    if not all(bool(own.sum().isfinite() or own.isfinite().all()) for own in parts(scores)):
        broken = ~scores.isfinite()
        image, label = broken.nonzero()[0].tolist()
        raise InputError(
            f"{int(broken.sum()):,} of {scores.numel():,} scores are not finite numbers, the first "
            f"that of image {image} and label {label}, counted from 0: the training diverged; "
            "lower the learning rate, or train in 32-bit precision."
        )
