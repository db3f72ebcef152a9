"""From the pixels of an image to the square that a network sees."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from zsl.errors import require


class ImageTransform(NamedTuple):
    """Turns the pixels of an image, uint8 (3, H, W), into uint8 (3, S, S)."""

    min_side: int
    """Pixels that each side of the image must have; a larger image may be decoded reduced."""
    transform: Callable[[Tensor], Tensor]

    def __call__(self, image: Tensor) -> Tensor:
        """Applies the transform."""
        return self.transform(image)


@dataclass(frozen=True)
class Resizing:
    """How an image of any shape becomes a square.

    Args:
        interpolation: `bilinear` or `bicubic`, both antialiased.
        center_crop: Side of the central square that is kept, relative to the shorter side of the
            image: timm's `crop_pct`. None squashes the whole image.

    Raises:
        InputError: A value is out of range.
    """

    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    center_crop: float | None = None

    def __post_init__(self) -> None:
        """Refuses values out of range."""
        require(
            self.interpolation in ("bilinear", "bicubic"),
            f"images.interpolation is {self.interpolation!r}; expected bilinear or bicubic.",
        )
        require(
            self.center_crop is None or 0 < self.center_crop <= 1,
            f"images.center_crop is {self.center_crop}; expected above 0, at most 1, or null.",
        )

    @property
    def mode(self) -> InterpolationMode:
        """The interpolation, as torchvision takes it."""
        return InterpolationMode(self.interpolation)

    def shorter_side(self, image_size: int) -> int:
        """Pixels of the shorter side before the square is cut, rounded as timm rounds them."""
        return math.floor(image_size / (self.center_crop or 1))

    def describe(self, image_size: int) -> str:
        """Says in words what is done to an image."""
        if self.center_crop is None:
            return "squash: to the size, whatever the aspect ratio; nothing is cut off"
        side = self.shorter_side(image_size)
        return f"shorter side to {side}, aspect ratio kept; then the central square is cut out"

    def seen_part(self, image: Image.Image) -> Image.Image:
        """Returns the part of an image that becomes the square."""
        if self.center_crop is None:
            return image
        side = max(1, round(self.center_crop * min(image.size)))
        left, upper = (image.width - side) // 2, (image.height - side) // 2
        return image.crop((left, upper, left + side, upper + side))


def evaluation_transform(image_size: int, resizing: Resizing = Resizing()) -> ImageTransform:
    """Makes squares of (image_size, image_size) of images, always in the same way."""
    if resizing.center_crop is None:
        return ImageTransform(image_size, v2.Resize((image_size, image_size), resizing.mode))
    side = resizing.shorter_side(image_size)
    steps = [v2.Resize(side, resizing.mode), v2.CenterCrop(image_size)]
    return ImageTransform(side, v2.Compose(steps))
