"""What is made of the pixels of an image, and how they are varied in training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from timm.data import IMAGENET_DEFAULT_MEAN
from timm.data.auto_augment import (
    augment_and_mix_transform,
    auto_augment_transform,
    rand_augment_transform,
)
from timm.data.transforms import str_to_pil_interp
from torch import Tensor
from torchvision.transforms import v2

from zsl.data.rand_augment import PublishedRandAugment
from zsl.errors import InputError, reason_of, require
from zsl.preprocessing import ImageTransform, Resizing, evaluation_transform


@dataclass(frozen=True)
class ImageConfig:
    """The square that is made of an image, and how it is varied in training.

    Args:
        size: Side of the square in pixels.
        interpolation: `bilinear` or `bicubic`, in training and evaluation.
        center_crop: Side of the central square that evaluation keeps, relative to the shorter side:
            timm's `crop_pct`. None squashes the whole image.
        min_crop: Smallest fraction of a training image's area that a random crop keeps; with 1 it
            becomes a square as in evaluation.
        horizontal_flip: Mirrors half of the training images.
        cutout: Side of a rectangle painted over each training image, relative to its own.
        rand_augment: Applies RandAugment to training images: true torchvision's, `published` that
            of ML-Decoder's training code.
        auto_augment: A policy of timm for training images, such as `rand-m7-mstd0.5-inc1`,
            `augmix-m5-w4-d2` or `original`, with the settings of timm's training script.

    Raises:
        InputError: A number is out of range, or a policy is unknown.
    """

    size: int = 224
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    center_crop: float | None = None
    min_crop: float = 1.0
    horizontal_flip: bool = False
    cutout: float = 0.0
    rand_augment: bool | Literal["published"] = False
    auto_augment: str | None = None

    def __post_init__(self) -> None:
        """Refuses numbers out of range and unknown policies."""
        require(self.size >= 1, f"images.size is {self.size}; expected 1 or more.")
        _ = self.resizing  # Checks itself.
        require(
            0 < self.min_crop <= 1,
            f"images.min_crop is {self.min_crop}; expected above 0, at most 1.",
        )
        require(0 <= self.cutout <= 1, f"images.cutout is {self.cutout}; expected 0 to 1.")
        require(
            self.rand_augment in (True, False, "published"),
            f"images.rand_augment is {self.rand_augment!r}; expected true, false or published.",
        )
        require(
            self.auto_augment is None or not self.rand_augment,
            f"images.auto_augment is {self.auto_augment!r} beside rand_augment "
            f"{self.rand_augment!r}; set one of them alone.",
        )
        if self.auto_augment is not None:
            _policy(self.auto_augment, self)

    @property
    def resizing(self) -> Resizing:
        """How squares are made of images in evaluation."""
        return Resizing(self.interpolation, self.center_crop)

    @property
    def variation(self) -> dict[str, Any]:
        """How training images are varied, whatever the square."""
        plain = ("size", *asdict(self.resizing))
        return {name: value for name, value in asdict(self).items() if name not in plain}


def training_transform(images: ImageConfig) -> ImageTransform:
    """Makes a square of an image, and varies it, as the config says."""
    min_side, square = evaluation_transform(images.size, images.resizing)
    if images.min_crop < 1:
        min_side = math.ceil(images.size / images.min_crop**0.5)
        square = v2.RandomResizedCrop(
            images.size, scale=(images.min_crop, 1.0), interpolation=images.resizing.mode
        )
    steps: list[Callable[[Any], Any]] = [square]
    if images.horizontal_flip:
        steps.append(v2.RandomHorizontalFlip())
    if images.cutout > 0:
        steps.append(Cutout(images.cutout))
    policy: Any = None
    if images.auto_augment is not None:
        policy = _policy(images.auto_augment, images)
    elif images.rand_augment:
        policy = PublishedRandAugment() if images.rand_augment == "published" else v2.RandAugment()
    if policy is not None:
        # Through Pillow: twice as fast as on a tensor.
        steps += [v2.ToPILImage(), policy, v2.PILToTensor()]
    return ImageTransform(min_side, v2.Compose(steps))


def _policy(name: str, images: ImageConfig) -> Callable[[Any], Any]:
    """Makes a policy of timm, with what its `transforms_imagenet_train` hands to it."""
    settings: dict[str, Any] = {
        "translate_const": int(0.45 * images.size),
        "img_mean": tuple(round(255 * mean) for mean in IMAGENET_DEFAULT_MEAN),
        "interpolation": str_to_pil_interp(images.interpolation),
    }
    make = auto_augment_transform
    if name.startswith("rand"):
        make = rand_augment_transform
    elif name.startswith("augmix"):
        make, settings["translate_pct"] = augment_and_mix_transform, 0.3
    try:
        policy: Callable[[Any], Any] = make(name, settings)
    except (AssertionError, LookupError, ValueError) as error:
        raise InputError(
            f"images.auto_augment is {name!r}, which timm does not understand "
            f"({reason_of(error)}); expected a policy such as rand-m9-mstd0.5-inc1, or null."
        ) from error
    return policy


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
