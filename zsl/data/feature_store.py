"""A feature store: the tokens of a frozen backbone, on disk, served in place of images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zsl.data.dataset import Batch, MultiLabelDataset
from zsl.data.seeds import Draw, split_draws
from zsl.data.split import Split
from zsl.errors import InputError, program, require
from zsl.files.tokens import differences
from zsl.preprocessing import Resizing

RECORD = "features.json"
"""The file that makes a folder a store."""


class FeatureStore:
    """A folder with `SPLIT.npy`, float16 (N, T, C) in the split's order, and `features.json`.

    The training images may be there in several views, varied anew in each: `train.npy` then has all
    images in their first view, all in their second, and so on.

    Args:
        folder: Written by `python -m zsl.prepare features`.

    Attributes:
        record: Contents of `features.json`: what the tokens were made with and of.

    Raises:
        InputError: The folder is missing, or no feature store.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.folder / RECORD
        if not path.is_file():
            found = "holds no feature store" if self.folder.is_dir() else "does not exist"
            raise InputError(
                f"The folder {self.folder} {found}; make one with {program('prepare features')} "
                "and the arguments of the training, or set features null to train from the images."
            )
        try:
            self.record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path} is damaged; make the feature store anew.") from error

    def check(self, part: Literal["backbone", "views"], wanted: dict[str, Any]) -> None:
        """Refuses another backbone than the tokens were made with, or other views of the images.

        Args:
            part: What is compared.
            wanted: What is in use, as `record[part]`.

        Raises:
            InputError: They differ; the message says in what.
        """
        # Stores of earlier versions knew no other resizing.
        stored: dict[str, Any] = asdict(Resizing()) | self.record[part]
        made, now = differences(stored, wanted)
        if made:
            whose = "the model has" if part == "backbone" else "the data has"
            raise InputError(
                f"The feature store {self.folder} was made with {made}, but {whose} {now}; make "
                "another store with these arguments, or change them."
            )

    def serve(self, split: Split, images: MultiLabelDataset) -> FeatureDataset:
        """Returns the images of a split as their tokens.

        Raises:
            InputError: The store was made of other images, or its file is not whole.
        """
        stored = self.record["images"].get(split)
        if stored != images.images_fingerprint():
            raise InputError(
                f"The feature store {self.folder} was made of other {split} images than the data "
                "now has (other files, sizes, order or split); make it anew with "
                f"{program('prepare features')}."
            )
        path = self.folder / f"{split}.npy"
        num_views = self.record["views"]["views"] if split is Split.TRAIN else 1
        shape = (num_views * len(images), *self.record["token_shape"])
        try:
            found = np.load(path, mmap_mode="r").shape
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path} is missing or not whole; make the store anew.") from error
        require(
            found == shape, f"{path} has the shape {found}; expected {shape}; make the store anew."
        )
        return FeatureDataset(path, images, num_views)


class FeatureDataset(MultiLabelDataset):
    """The images of a split as their tokens.

    Args:
        path: float16 (V · N, T, C) as .npy.
        images: The same images themselves.
        num_views: Number V of views of each image, of which the seed of a draw selects one.
    """

    def __init__(self, path: Path, images: MultiLabelDataset, num_views: int = 1) -> None:
        super().__init__(images.transform)
        self.path = path
        self.images = images
        self.num_views = num_views

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def image(self, index: int) -> Image.Image:
        """Returns the RGB image as it is, for people to look at."""
        return self.images.image(index)

    def target(self, index: int) -> Tensor:
        """Returns the int8 (L,) target."""
        return self.images.target(index)

    def has_label(self, columns: slice) -> np.ndarray:
        """Which images have one of some labels: bool (N,)."""
        return self.images.has_label(columns)

    def images_fingerprint(self) -> str:
        """Returns a digest of the images."""
        return self.images.images_fingerprint()

    def __getitems__(self, draws: Sequence[int | Draw]) -> Batch:
        """Reads a batch; the seed of an image says in which view, without one it is the first."""
        indices, seeds = split_draws(draws)
        # Mapped anew each time: what was read before does not stay in this process's memory.
        stored = np.load(self.path, mmap_mode="r")
        views = [(seed or 0) % self.num_views for seed in seeds]
        rows = np.array(indices) + len(self) * np.array(views)
        return Batch(
            index=torch.tensor(indices),
            tokens=torch.from_numpy(np.asarray(stored[rows])),
            target=torch.stack([self.target(index) for index in indices]),
        )
