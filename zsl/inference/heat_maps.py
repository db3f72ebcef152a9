"""Images of what speaks for a label."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from zsl.errors import shorten
from zsl.files.atomic import write_atomically
from zsl.files.images import read_image
from zsl.inference.prediction import Prediction
from zsl.preprocessing import Resizing

LONG_SIDE = 448
_TITLE_HEIGHT = 28
_TITLE_LENGTH = 40
_DARKEST = 0.25


def common_folder(paths: Sequence[Path]) -> str:
    """Returns the deepest folder that all files are in."""
    return os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])


def write_heat_maps(
    folder: Path,
    path: Path,
    root: str,
    prediction: Prediction,
    maps: Tensor,
    resizing: Resizing = Resizing(),
) -> None:
    """Writes `FOLDER/IMAGE/RANK_LABEL.jpg` for each label of an image.

    Args:
        folder: Folder of all heat maps.
        path: The image file.
        root: Folder of all images, to which IMAGE is relative.
        prediction: L labels and scores.
        maps: (L, H', W'), contributions to the labels' logits.
        resizing: Says which part of the image was looked at.
    """
    image = resizing.seen_part(read_image(path))
    image.thumbnail((LONG_SIDE, LONG_SIDE))
    if max(image.size) < LONG_SIDE:
        scale = LONG_SIDE / max(image.size)
        image = image.resize([max(1, round(side * scale)) for side in image.size])
    own = folder / os.path.relpath(os.path.abspath(path), root)
    rows = zip(*prediction, maps.cpu().numpy(), strict=True)
    for rank, (label, score, heat) in enumerate(rows, 1):
        name = re.sub(r"[^\w-]+", "_", label)[:60]
        drawn = _titled(overlay(image, heat), f"{shorten(label, _TITLE_LENGTH)}  {score:.3f}")
        buffer = BytesIO()
        drawn.save(buffer, "JPEG", quality=90)
        write_atomically(own / f"{rank}_{name}.jpg", buffer.getvalue())


def overlay(image: Image.Image, contributions: np.ndarray) -> Image.Image:
    """Dims an image where it does not speak for a label; colours stay what they are.

    Args:
        image: Of any size.
        contributions: (H', W'); what is 0 or less is dimmed most, the highest not at all.
    """
    heat = contributions.clip(min=0)
    # The square root lets more than the peak be seen.
    heat = np.sqrt(heat / heat.max()) if heat.any() else heat
    light = Image.fromarray((_DARKEST + (1 - _DARKEST) * heat).astype(np.float32))
    shade = np.asarray(light.resize(image.size, Image.Resampling.BILINEAR))[..., None]
    return Image.fromarray((np.asarray(image) * shade).round().astype(np.uint8))


def _titled(image: Image.Image, title: str) -> Image.Image:
    import matplotlib  # Only for its font, which has more than Latin letters; slow to import.

    canvas = Image.new("RGB", (image.width, image.height + _TITLE_HEIGHT), "white")
    canvas.paste(image, (0, _TITLE_HEIGHT))
    font = ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), 16)
    ImageDraw.Draw(canvas).text((6, 5), title, fill="black", font=font)
    return canvas
