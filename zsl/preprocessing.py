"""From the pixels of an image to the square that a network sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torchvision.transforms import v2


class ImageTransform(NamedTuple):
    """Turns the pixels of an image, uint8 (3, H, W), into uint8 (3, S, S)."""

    min_side: int
    """Pixels that each side of the image must have; a larger image may be decoded reduced."""
    transform: Callable[[Tensor], Tensor]

    def __call__(self, image: Tensor) -> Tensor:
        """Applies the transform."""
        return self.transform(image)


def evaluation_transform(image_size: int) -> ImageTransform:
    """Squashes to (image_size, image_size), aspect ratio given up so that nothing is cut off."""
    return ImageTransform(image_size, v2.Resize((image_size, image_size)))
