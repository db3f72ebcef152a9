"""Where the image files of a split are: in `train/`, or as the archives unpack, in `train_0/`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from zsl.data.openimages.annotations import image_numbers
from zsl.errors import InputError

MISSING = 255
"""In place of the number of a folder, where none has the image."""
_AT_ONCE = 200_000
_STEM = 16


def image_folders(root: Path, name: str) -> list[str]:
    """Lists the folders below `root` that may hold the images of a split, by its name."""
    parts = [name, *(f"{name}_{digit:x}" for digit in range(16))]
    candidates = [*parts, *(f"{name}/{part}" for part in parts)]
    return [folder for folder in candidates if (root / folder).is_dir()]


def find_images(images: np.ndarray, root: Path, folders: list[str]) -> np.ndarray:
    """Finds out which folder has each image: uint8 (N,), or `MISSING`.

    Args:
        images: Their numbers, uint64 (N,), ascending.
        root: The folder of the folders.
        folders: Names of at most 255 folders below it.
    """
    place = np.full(len(images), MISSING, np.uint8)
    for number, folder in enumerate(folders):
        for found in _numbers(root / folder):
            at = np.searchsorted(images, found).clip(max=len(images) - 1)
            place[at[images[at] == found]] = number
    return place


def _numbers(folder: Path) -> Iterator[np.ndarray]:
    """Yields the numbers of the images in a folder, some at a time."""
    with os.scandir(folder) as entries:
        stems = (e.name[:_STEM] for e in entries if e.name[_STEM:] == ".jpg")
        while part := list(islice(stems, _AT_ONCE)):
            try:
                yield image_numbers(pa.array(part))
            except InputError:
                # Other images lie among them.
                yield np.concatenate([_number(stem) for stem in part])


def _number(stem: str) -> np.ndarray:
    try:
        return image_numbers(pa.array([stem]))
    except InputError:
        return np.empty(0, np.uint64)
