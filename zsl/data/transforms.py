"""What is made of the pixels of an image, and how they are varied in training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torchvision.transforms import v2

from zsl.data.rand_augment import PublishedRandAugment
from zsl.errors import require
from zsl.preprocessing import ImageTransform


@dataclass(frozen=True)
class ImageConfig:
    """The square that is made of an image, and how it is varied in training.

    Args:
        size: Side of the square in pixels.
        min_crop: Smallest fraction of a training image's area that a random crop keeps; 1 squashes
            the whole image.
        horizontal_flip: Mirrors half of the training images.
        cutout: Side of a rectangle painted over each training image, relative to its own.
        rand_augment: Applies RandAugment to training images: true torchvision's, `published` that
            of ML-Decoder's training code.

    Raises:
        InputError: A number is out of range.
    """

    size: int = 224
    min_crop: float = 1.0
    horizontal_flip: bool = False
    cutout: float = 0.0
    rand_augment: bool | Literal["published"] = False

    def __post_init__(self) -> None:
        """Refuses numbers out of range."""
        require(self.size >= 1, f"images.size is {self.size}; expected 1 or more.")
        require(
            0 < self.min_crop <= 1,
            f"images.min_crop is {self.min_crop}; expected above 0, at most 1.",
        )
        require(0 <= self.cutout <= 1, f"images.cutout is {self.cutout}; expected 0 to 1.")
        require(
            self.rand_augment in (True, False, "published"),
            f"images.rand_augment is {self.rand_augment!r}; expected true, false or published.",
        )

    @property
    def variation(self) -> dict[str, Any]:
        """How training images are varied, whatever their size."""
        return {name: value for name, value in asdict(self).items() if name != "size"}


def training_transform(images: ImageConfig) -> ImageTransform:
    """Crops or squashes to a square, and varies it, as the config says."""
    steps: list[Callable[[Any], Any]] = [
        v2.RandomResizedCrop(images.size, scale=(images.min_crop, 1.0))
        if images.min_crop < 1
        else v2.Resize((images.size, images.size))
    ]
    if images.horizontal_flip:
        steps.append(v2.RandomHorizontalFlip())
    if images.cutout > 0:
        steps.append(Cutout(images.cutout))
    if images.rand_augment:
        policy = PublishedRandAugment() if images.rand_augment == "published" else v2.RandAugment()
        # Through Pillow: twice as fast as on a tensor.
        steps += [v2.ToPILImage(), policy, v2.PILToTensor()]
    return ImageTransform(math.ceil(images.size / images.min_crop**0.5), v2.Compose(steps))


class Cutout:
    """Paints a rectangle of one random colour around a random point of the image.

    As the published training code of ML-Decoder does, after DeVries and Taylor,
    arXiv 1708.04552. torchvision's `RandomErasing` is another augmentation: its rectangle is never
    cut by the image's edge, varies in shape, and is filled with a fixed value or noise.

    Args:
        size: Sides of the rectangle relative to the image's; the image's edge may cut it.
    """

    def __init__(self, size: float) -> None:
        self.size = size

    def __call__(self, image: Tensor) -> Tensor:
        """Paints into an image uint8 (3, H, W) and returns it."""
        row, column, *colour = torch.rand(5).tolist()
        hole = image[:, self._span(row, image.shape[1]), self._span(column, image.shape[2])]
        for channel, part in zip(hole, colour, strict=True):
            channel.fill_(int(256 * part))
        return image

    def _span(self, centre: float, side: int) -> slice:
        pixel, half = int(centre * side), int(self.size * side + 0.5) // 2
        # Pillow, which paints the published ones, has the last pixel in a rectangle.
        return slice(max(0, pixel - half), pixel + half + 1)
