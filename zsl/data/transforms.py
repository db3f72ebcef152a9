"""What happens to a picture before it is a tensor."""

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import v2

ImageTransform = Callable[[Image.Image], Tensor]


def to_rgb(image: Image.Image) -> Image.Image:
    """Brings any picture to 8-bit RGB as a person sees it.

    Turned as its EXIF data says, 16-bit grey values scaled, transparency laid on white.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        values = np.asarray(image, dtype=np.float64) / 257
        image = Image.fromarray(values.clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def evaluation_transform(image_size: int) -> ImageTransform:
    """Squashes to (image_size, image_size), aspect ratio given up so that nothing is cut off.

    Returns:
        A function from an RGB picture to uint8 (3, image_size, image_size).
    """
    return v2.Compose([v2.Resize((image_size, image_size)), v2.PILToTensor()])


def training_transform(
    image_size: int, min_crop: float, horizontal_flip: bool, rand_augment: bool
) -> ImageTransform:
    """Crops or squashes to (image_size, image_size), and varies.

    Args:
        image_size: Side of the result in pixels.
        min_crop: Least part of the picture's area that a random crop keeps; 1 squashes instead.
        horizontal_flip: Mirrors half of the pictures.
        rand_augment: Applies RandAugment.

    Returns:
        A function from an RGB picture to uint8 (3, image_size, image_size).
    """
    size = (image_size, image_size)
    steps: list[Any] = [
        v2.RandomResizedCrop(size, scale=(min_crop, 1.0)) if min_crop < 1 else v2.Resize(size)
    ]
    if horizontal_flip:
        steps.append(v2.RandomHorizontalFlip())
    if rand_augment:
        steps.append(v2.RandAugment())
    return v2.Compose([*steps, v2.PILToTensor()])
