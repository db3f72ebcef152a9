"""From the pixels of an image to the square that a network sees."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torchvision.transforms.v2 import functional


class ImageTransform:
    """Steps from the pixels of an image, uint8 (3, H, W), to uint8 (3, S, S).

    Args:
        min_side: Pixels a side that the image needs; what has more may be read reduced.
        steps: From uint8 (3, H, W) to the same dtype and shape, one after the other.
    """

    def __init__(self, min_side: int, steps: list[Callable[[Tensor], Tensor]]) -> None:
        self.min_side = min_side
        self.steps = steps

    def __call__(self, image: Tensor) -> Tensor:
        """Applies the steps."""
        for step in self.steps:
            image = step(image)
        return image


def evaluation_transform(image_size: int) -> ImageTransform:
    """Squashes to (image_size, image_size), aspect ratio given up so that nothing is cut off."""
    return ImageTransform(image_size, [Squash(image_size)])


class Squash:
    """Resizes to a square.

    Args:
        size: Its side in pixels.
    """

    def __init__(self, size: int) -> None:
        self.size = [size, size]

    def __call__(self, image: Tensor) -> Tensor:
        """Returns an image uint8 (3, H, W) as (3, size, size)."""
        return functional.resize(image, self.size)
