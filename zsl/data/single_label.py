"""Images with one class each: what the data sets of this kind share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from zsl.data.dataset import ImageFileDataset
from zsl.data.held_out_images import split_off
from zsl.errors import listing, require
from zsl.preprocessing import ImageTransform


class SingleLabelFiles(ImageFileDataset):
    """Image files of one class each.

    Args:
        folder: Folder that the files are relative to.
        files: Paths of the N images, texts in Arrow's memory: a million of Python's would take
            several times as much.
        columns: The class of each, int64 (N,), as a position among the labels.
        num_labels: Number L of labels.
        transform: Turns the pixels of an image into those of the batch.
    """

    def __init__(
        self,
        folder: Path,
        files: pa.StringArray,
        columns: np.ndarray,
        num_labels: int,
        transform: ImageTransform,
    ) -> None:
        super().__init__(transform)
        self.folder = folder
        self.files = files
        self.columns = columns
        self.num_labels = num_labels

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)

    def path(self, index: int) -> Path:
        """The file of an image."""
        return self.folder / self.files[index].as_py()

    def target(self, index: int) -> Tensor:
        """Returns the int8 (L,) target, with a single 1."""
        return one_hot(self.columns[index], self.num_labels)


def one_hot(column: int, num_labels: int) -> Tensor:
    """Returns an int8 (L,) target with a 1 in one column."""
    target = torch.zeros(num_labels, dtype=torch.int8)
    target[int(column)] = 1
    return target


def split_classes(
    columns: np.ndarray, names: Sequence[str], fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws which training images are kept for validation, as `split_off`.

    Args:
        columns: The class of each of N training images, int64 (N,).
        names: Names of the classes.
        fraction: Fraction of the images to keep for validation.
        seed: Seed of the draw.

    Raises:
        InputError: A class would have no image left to train on.
    """
    train, val = split_off(len(columns), fraction, seed)
    left = np.bincount(columns[train], minlength=len(names))
    without = [name for name, count in zip(names, left, strict=True) if not count]
    require(
        not without,
        f"With val_fraction {fraction} of {len(columns):,} training images kept for validation, "
        f"{len(without)} of {len(names)} classes have none left to train on: {listing(without)}; "
        "lower val_fraction, or take another split_seed.",
    )
    return train, val
