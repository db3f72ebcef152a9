"""Miniature images in a folder for each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

COUNTS = {"train": 8, "val": 3, "test": 4}
WNIDS = ["n01440764", "n01443537", "n02012849", "n03126707", "n03710721", "n15075141"]
"""Of ImageNet: two fish, the two cranes, one of the two maillots, and the last of all."""


def write_image_folder(
    root: Path,
    classes: Sequence[str] = ("cat", "dog", "owl"),
    counts: Mapping[str, int] = COUNTS,
    suffix: str = ".png",
) -> Path:
    """Writes `SPLIT/CLASS/NUMBER.png`; each class has a colour, with noise in it.

    Args:
        root: The folder.
        classes: Names of the folders.
        counts: Images of each class, by split.
        suffix: Of the files.
    """
    random = np.random.default_rng(0)
    colours = random.integers(30, 226, (len(classes), 3))
    for split, count in counts.items():
        for name, colour in zip(classes, colours, strict=True):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                noise = random.integers(-30, 30, (24, 36, 3))
                image = Image.fromarray((colour + noise).astype(np.uint8))
                image.save(root / split / name / f"{split}_{number}{suffix}")
    return root


def write_imagenet(root: Path) -> Path:
    """Writes a miniature ImageNet: six classes, without test images."""
    return write_image_folder(root, WNIDS, {"train": 8, "val": 3}, ".JPEG")
