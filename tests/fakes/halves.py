"""Pictures in which two classes can be seen: a colour in each half."""

import colorsys
from pathlib import Path

import numpy as np
from PIL import Image


def palette(names: list[str]) -> dict[str, tuple[int, ...]]:
    """A colour for each name."""
    hues = {name: row / len(names) for row, name in enumerate(names)}
    return {
        name: tuple(int(255 * part) for part in colorsys.hsv_to_rgb(hue, 1, 0.4 + 0.6 * (row % 2)))
        for row, (name, hue) in enumerate(hues.items())
    }


def write_halves(path: Path, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    """Writes a picture of 48 x 32 pixels."""
    pixels = np.zeros((32, 48, 3), dtype=np.uint8)
    pixels[:, :24], pixels[:, 24:] = left, right
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95)
