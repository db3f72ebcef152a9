"""What counts in an evaluation: protocols under which published figures were made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from zsl.errors import InputError, did_you_mean
from zsl.metrics.average_precision import Ties, average_precision

Images = Literal["all_images", "labelled_images"]
Empty = Literal["zero", "skip"]

_CHOICES = {
    "images": {
        "all_images": "every image counts",
        "labelled_images": "images with a positive among the evaluated labels count",
    },
    "empty": {
        "zero": "a label without a positive counts as AP 0",
        "skip": "labels without a positive are left out of mAP",
    },
    "ties": {
        "averaged": "images of equal score count together",
        "sorted": "images of equal score count one by one, the last first",
    },
}


@dataclass(frozen=True)
class Protocol:
    """Which images and labels count, and how ties do. Unknown (-1) targets never count.

    NUS-WIDE's published figures have labels without a positive as `zero`, ties as `sorted`, and
    `all_images` (BiAM, LESA, MKT) or `labelled_images` (ML-Decoder, SDL, DualCoOp).

    Args:
        images: `all_images`, or `labelled_images`: those with a positive among the
            evaluated labels.
        empty: A label without a positive counts as AP 0 (`zero`), or not at all (`skip`).
        ties: `averaged`, as scikit-learn does, or `sorted`: one after the other.

    Raises:
        InputError: There is no such choice.
    """

    images: Images = "all_images"
    empty: Empty = "zero"
    ties: Ties = "averaged"

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
        own, default = ((p.empty, p.ties) for p in (self, Protocol()))
        changed = [a for a, b in zip(own, default, strict=True) if a != b]
        return ", ".join([self.images, *changed])

    @property
    def definition(self) -> str:
        """The protocol in words."""
        return "; ".join(choices[getattr(self, name)] for name, choices in _CHOICES.items())

    def images_kept(self, targets: Tensor) -> Tensor | slice:
        """Index of the images that count, by the targets int8 (N, L) of the evaluated labels."""
        return slice(None) if self.images == "all_images" else (targets == 1).any(dim=1)

    def average_precision(self, scores: Tensor, targets: Tensor) -> Tensor:
        """AP float64 (L,) of each label on the images given; NaN without a positive."""
        return average_precision(scores, targets, self.ties)

    def mean(self, average_precision: Tensor) -> Tensor:
        """The mAP (...) of AP (L, ...), NaN without a positive; 0 where no label counts."""
        ap = average_precision.nan_to_num(0) if self.empty == "zero" else average_precision
        return ap.nanmean(dim=0).nan_to_num(0)
