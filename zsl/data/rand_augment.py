"""RandAugment as the published training code of ML-Decoder has it.

That code takes it from the package `randaugment` 1.0.2, whose policy is another than the paper's
(Cubuk et al., arXiv 1909.13719) and torchvision's: these always apply two operations at one
magnitude, and know no inversion and no cutout.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

_GREY = [128, 128, 128]


class PublishedRandAugment:
    """Applies two of 15 operations, each with probability 0.5 and at a magnitude of its own.

    Operations are drawn with replacement, magnitudes uniformly from 1 to 9 of 9.
    """

    def __call__(self, image: Image.Image) -> Image.Image:
        """Varies an RGB image."""
        for _ in range(2):
            operation = OPERATIONS[int(torch.randint(len(OPERATIONS), ()))]
            magnitude = int(torch.randint(1, 10, ())) / 9
            if torch.rand(()) < 0.5:
                image = operation(image, magnitude)
        return image


def _signed(magnitude: float) -> float:
    return magnitude if torch.rand(()) < 0.5 else -magnitude


def _moved(image: Image.Image, **by: Any) -> Image.Image:
    """Shears around the upper left corner, or translates; uncovered pixels become grey."""
    moves = {"angle": 0.0, "translate": [0.0, 0.0], "scale": 1.0, "shear": [0.0, 0.0]}
    return F.affine(image, **(moves | by), center=[0.0, 0.0], fill=_GREY)


def _sheared(image: Image.Image, x: float = 0, y: float = 0) -> Image.Image:
    angles = [math.degrees(math.atan(slope)) for slope in (x, y)]
    return _moved(image, shear=angles, interpolation=InterpolationMode.BICUBIC)


def _cut(image: Image.Image, side: int) -> Image.Image:
    """Paints a square around a random point in CIFAR-10's mean colour; the edge may cut it."""
    x, y = (int(torch.randint(length, ())) for length in image.size)
    half = side // 2
    right, lower = min(image.width, x + half), min(image.height, y + half)
    image = image.copy()
    image.paste((125, 122, 113), (max(0, x - half), max(0, y - half), right, lower))
    return image


OPERATIONS: list[Callable[[Image.Image, float], Image.Image]] = [
    lambda image, m: F.invert(image),
    lambda image, m: _cut(image, round(20 * m)),
    lambda image, m: F.adjust_sharpness(image, 1 + _signed(0.9 * m)),
    lambda image, m: F.autocontrast(image),
    lambda image, m: F.posterize(image, round(8 - 4 * m)),
    lambda image, m: _sheared(image, x=_signed(0.3 * m)),
    lambda image, m: _moved(image, translate=[_signed(150 / 331 * m * image.width), 0.0]),
    lambda image, m: _moved(image, translate=[0.0, _signed(150 / 331 * m * image.height)]),
    lambda image, m: _sheared(image, y=_signed(0.3 * m)),
    lambda image, m: F.rotate(image, 30 * m, fill=_GREY),  # Counter-clockwise alone.
    lambda image, m: F.equalize(image),
    lambda image, m: F.adjust_contrast(image, 1 + _signed(0.9 * m)),
    lambda image, m: F.adjust_saturation(image, 1 + _signed(0.9 * m)),
    lambda image, m: F.solarize(image, 256 * (1 - m)),
    lambda image, m: F.adjust_brightness(image, 1 + _signed(0.9 * m)),
]
"""The operations of an image and a magnitude above 0, at most 1, in the package's order."""
