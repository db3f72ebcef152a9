"""Pictures of where the decoder looks."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from zsl.files.atomic import atomic_path
from zsl.files.images import read_image
from zsl.inference.prediction import Prediction

LONG_SIDE = 448
_TITLE_HEIGHT = 28
_DARKEST = 0.25


def write_heat_maps(
    folder: Path, image: Path, root: str, prediction: Prediction, maps: Tensor
) -> None:
    """Writes `RANK_LABEL.jpg` for each label, in a folder that is named as the image is.

    Args:
        folder: Of all heat maps.
        image: The image file.
        root: Folder above all images, which the names leave out.
        prediction: L labels and scores.
        maps: (L, H', W') weights.
    """
    picture = read_image(image)
    picture.thumbnail((LONG_SIDE, LONG_SIDE))
    if max(picture.size) < LONG_SIDE:
        scale = LONG_SIDE / max(picture.size)
        picture = picture.resize([max(1, round(side * scale)) for side in picture.size])
    place = folder / os.path.relpath(os.path.abspath(image), root)
    for rank, (label, score) in enumerate(zip(*prediction, strict=True), 1):
        name = re.sub(r"[^\w-]+", "_", label)[:60]
        drawn = _titled(overlay(picture, maps[rank - 1].cpu().numpy()), f"{label}  {score:.3f}")
        with atomic_path(place / f"{rank}_{name}.jpg") as temporary:
            drawn.save(temporary, quality=90)


def overlay(picture: Image.Image, weights: np.ndarray) -> Image.Image:
    """Dims a picture where weights (H', W') are small; colours stay what they are."""
    span = weights.max() - weights.min()
    heat = (weights - weights.min()) / span if span > 0 else np.zeros_like(weights)
    # The square root lets more than the peak be seen.
    light = Image.fromarray((_DARKEST + (1 - _DARKEST) * np.sqrt(heat)).astype(np.float32))
    shade = np.asarray(light.resize(picture.size, Image.Resampling.BILINEAR))[..., None]
    return Image.fromarray((np.asarray(picture) * shade).round().astype(np.uint8))


def _titled(picture: Image.Image, title: str) -> Image.Image:
    canvas = Image.new("RGB", (picture.width, picture.height + _TITLE_HEIGHT), "white")
    canvas.paste(picture, (0, _TITLE_HEIGHT))
    font = ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), 16)
    ImageDraw.Draw(canvas).text((6, 5), title, fill="black", font=font)
    return canvas


def root_of(images: Sequence[Path]) -> str:
    """The deepest folder above all images."""
    return os.path.commonpath([os.path.dirname(os.path.abspath(image)) for image in images])
