"""What counts in an evaluation: protocols under which published figures were made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from zsl.errors import InputError, did_you_mean
from zsl.metrics.average_precision import Ties, average_precision
from zsl.metrics.known_targets import known_parts

Images = Literal["all_images", "labelled_images"]
Empty = Literal["zero", "skip", "two_sided"]
Average = Literal["macro", "weighted"]

_CHOICES = {
    "images": {
        "all_images": "every image counts",
        "labelled_images": "images with a positive among the evaluated labels count",
    },
    "empty": {
        "zero": "a label without a positive counts as AP 0",
        "skip": "labels without a positive are left out of mAP",
        "two_sided": "labels without a positive or without a negative are left out of mAP",
    },
    "ties": {
        "averaged": "images of equal score count together",
        "sorted": "images of equal score count one by one, the last first",
    },
    "average": {
        "macro": "mAP is the mean over labels",
        "weighted": "mAP weighs each label by its number of positives",
    },
}


def label_counts(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of images that have each label, and that lack it, int64 (L,), of int8 (N, L)."""
    counts = torch.zeros(2, targets.shape[1], dtype=torch.int64, device=targets.device)
    for own in known_parts(targets, targets):
        counts += torch.stack([own.count_by_label(own.targets == value) for value in (1, 0)])
    return counts[0], counts[1]


@dataclass(frozen=True)
class Protocol:
    """Which images and labels count, and how ties do. Unknown (-1) targets never count.

    NUS-WIDE's published figures have labels without a positive as `zero`, ties as `sorted`, and
    `all_images` (BiAM, LESA, MKT) or `labelled_images` (ML-Decoder, SDL, DualCoOp). Those of
    OpenImages V6 with partial labels have `two_sided`; those of its zero-shot split that are called
    mAP and lie near .7 (BiAM and after it) are `weighted`.

    Args:
        images: `all_images`, or `labelled_images`: those with a positive among the
            evaluated labels.
        empty: A label without a positive counts as AP 0 (`zero`), or not at all (`skip`); with
            `two_sided` one without a negative, whose AP is 1 whatever the scores, doesn't either.
        ties: `averaged`, as scikit-learn does, or `sorted`: one after the other.
        average: mAP is the mean over labels (`macro`), or `weighted` by their positives.

    Raises:
        InputError: There is no such choice.
    """

    images: Images = "all_images"
    empty: Empty = "zero"
    ties: Ties = "averaged"
    average: Average = "macro"

    def __post_init__(self) -> None:
        """Refuses unknown choices."""
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                what = "protocol" if name == "images" else f"choice for {name}"
                raise InputError(
                    f"There is no {what} {value!r}; choose one of {', '.join(choices)}."
                    + did_you_mean(str(value), choices)
                )

    def __str__(self) -> str:
        """Its name, with what differs from the defaults: `labelled_images, sorted`."""
        own, default = ((p.empty, p.ties, p.average) for p in (self, Protocol()))
        changed = [a for a, b in zip(own, default, strict=True) if a != b]
        return ", ".join([self.images, *changed])

    @property
    def definition(self) -> str:
        """The protocol in words."""
        return "; ".join(
            choices[getattr(self, name)]
            for name, choices in _CHOICES.items()
            if name != "average" or self.average != "macro"
        )

    def images_kept(self, targets: Tensor) -> Tensor | slice:
        """Index of the images that count, by the targets int8 (N, L) of the evaluated labels."""
        return slice(None) if self.images == "all_images" else (targets == 1).any(dim=1)

    def average_precision(self, scores: Tensor, targets: Tensor) -> Tensor:
        """AP float64 (L,) of each label on the images given; NaN where it is empty."""
        ap = average_precision(scores, targets, self.ties)
        if self.empty == "two_sided":
            ap[label_counts(targets)[1].cpu() == 0] = torch.nan
        return ap

    def mean(self, average_precision: Tensor, positives: Tensor | None = None) -> Tensor:
        """The mAP (...) of AP (L, ...), NaN where a label is empty; 0 where no label counts.

        Args:
            average_precision: Floating (L, ...).
            positives: How many images have each label, (L, ...), which `weighted` needs.
        """
        if self.average == "macro":
            ap = average_precision.nan_to_num(0) if self.empty == "zero" else average_precision
            return ap.nanmean(dim=0).nan_to_num(0)
        if positives is None:
            raise ValueError("The weighted mean of AP needs the numbers of positives.")
        weights = positives.to(average_precision) * ~average_precision.isnan()
        total = (weights * average_precision.nan_to_num(0)).sum(dim=0)
        return total / weights.sum(dim=0).clamp(min=1)
