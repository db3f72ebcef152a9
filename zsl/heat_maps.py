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

from zsl.files import atomic_path
from zsl.pictures import read_picture
from zsl.selection import Prediction

_LONG_SIDE = 448
_TITLE_HEIGHT = 28


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
    picture = read_picture(image)
    picture.thumbnail((_LONG_SIDE, _LONG_SIDE))
    if max(picture.size) < _LONG_SIDE:
        scale = _LONG_SIDE / max(picture.size)
        picture = picture.resize([max(1, round(side * scale)) for side in picture.size])
    place = folder / os.path.relpath(os.path.abspath(image), root)
    for rank, (label, score) in enumerate(zip(*prediction, strict=True), 1):
        name = re.sub(r"[^\w-]+", "_", label)[:60]
        drawn = heat_map(picture, maps[rank - 1].cpu().numpy(), f"{label}  {score:.3f}")
        with atomic_path(place / f"{rank}_{name}.jpg") as temporary:
            drawn.save(temporary, quality=90)


def heat_map(picture: Image.Image, weights: np.ndarray, title: str) -> Image.Image:
    """Lays weights (H', W') over a picture: bright where they are great, dark where small."""
    span = weights.max() - weights.min()
    heat = (weights - weights.min()) / span if span > 0 else np.zeros_like(weights)
    smooth = Image.fromarray(heat.astype(np.float32)).resize(picture.size, Image.Resampling.BICUBIC)
    strength = np.asarray(smooth).clip(0, 1)[..., None]
    colours = matplotlib.colormaps["inferno"](strength[..., 0])[..., :3] * 255
    grey = np.asarray(picture.convert("L"), dtype=np.float32)[..., None].repeat(3, axis=2)
    share = 0.35 + 0.3 * strength
    mixed = (1 - share) * (0.5 * np.asarray(picture) + 0.5 * grey) + share * colours
    return _titled(Image.fromarray(mixed.round().astype(np.uint8)), title)


def _titled(picture: Image.Image, title: str) -> Image.Image:
    canvas = Image.new("RGB", (picture.width, picture.height + _TITLE_HEIGHT), "white")
    canvas.paste(picture, (0, _TITLE_HEIGHT))
    font = ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), 16)
    ImageDraw.Draw(canvas).text((6, 5), title, fill="black", font=font)
    return canvas


def root_of(images: Sequence[Path]) -> str:
    """The deepest folder above all images."""
    return os.path.commonpath([os.path.dirname(os.path.abspath(image)) for image in images])
