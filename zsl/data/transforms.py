"""What happens to the pixels of a training image before they enter a batch."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import v2

from zsl.preprocessing import ImageTransform


def training_transform(
    image_size: int, min_crop: float, horizontal_flip: bool, cutout: float, rand_augment: bool
) -> ImageTransform:
    """Crops or squashes to (image_size, image_size), and varies.

    Args:
        image_size: Side of the result in pixels.
        min_crop: Smallest fraction of the image's area that a random crop keeps; 1 squashes
            instead.
        horizontal_flip: Mirrors half of the images.
        cutout: Side of the rectangle that is painted over, relative to the image's; 0 for none.
        rand_augment: Applies RandAugment.
    """
    steps: list[Callable[[Tensor], Tensor]] = [
        v2.RandomResizedCrop(image_size, scale=(min_crop, 1.0))
        if min_crop < 1
        else v2.Resize((image_size, image_size))
    ]
    if horizontal_flip:
        steps.append(v2.RandomHorizontalFlip())
    if cutout > 0:
        steps.append(Cutout(cutout))
    if rand_augment:
        # Through Pillow: twice as fast as on a tensor.
        steps += [v2.ToPILImage(), v2.RandAugment(), v2.PILToTensor()]
    return ImageTransform(math.ceil(image_size / min_crop**0.5), v2.Compose(steps))


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
        return slice(max(0, pixel - half), pixel + half)
