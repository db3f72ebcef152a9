"""What all datasets share: samples, loaders, fingerprint."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from enum import StrEnum
from typing import Any, TypedDict

import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from zsl.data.transforms import ImageTransform, evaluation_transform, training_transform
from zsl.errors import require
from zsl.labels import Vocabulary


class Split(StrEnum):
    """Training, selection (held-out labels), final test (unseen labels)."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class Sample(TypedDict):
    """One image."""

    index: int
    """Position in the split."""
    image: Tensor
    """uint8 (3, H, W)."""
    target: Tensor
    """int8 (L,) over the vocabulary: 1 present, 0 absent, -1 unknown."""


class Batch(TypedDict):
    """B samples."""

    index: Tensor
    """int64 (B,)."""
    image: Tensor
    """uint8 (B, 3, H, W)."""
    target: Tensor
    """int8 (B, L)."""


class MultiLabelDataset(Dataset[Sample], ABC):
    """Pictures and targets of one split."""

    def __init__(self, transform: ImageTransform) -> None:
        self.transform = transform

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def picture(self, index: int) -> Image.Image:
        """Returns the RGB picture as it is, for people to look at."""

    @abstractmethod
    def target(self, index: int) -> Tensor:
        """Returns the int8 (L,) target."""

    def __getitem__(self, index: int) -> Sample:
        """Returns the transformed image with its target."""
        return Sample(
            index=index,
            image=self.transform(self.picture(index)),
            target=self.target(index),
        )


class MultiLabelDataModule(pl.LightningDataModule, ABC):
    """Loaders of the three splits of a dataset.

    Subclasses set `vocabulary` when they are made, so that a model can be built for it.

    Args:
        image_size: Side of the square images in pixels.
        batch_size: Images a step, on each device.
        num_workers: Processes that load images; None takes one per core but one, at most 8.
        min_crop: Least part of a training picture's area that a random crop keeps; 1 squashes.
        horizontal_flip: Mirrors half of the training pictures.
        rand_augment: Applies RandAugment to training pictures.
    """

    vocabulary: Vocabulary

    def __init__(
        self,
        image_size: int,
        batch_size: int,
        num_workers: int | None,
        min_crop: float,
        horizontal_flip: bool,
        rand_augment: bool,
    ) -> None:
        super().__init__()
        require(image_size >= 1, f"data.image_size is {image_size}; expected 1 or more.")
        require(batch_size >= 1, f"data.batch_size is {batch_size}; expected 1 or more.")
        require((num_workers or 0) >= 0, f"data.num_workers is {num_workers}; expected 0 or more.")
        require(0 < min_crop <= 1, f"data.min_crop is {min_crop}; expected above 0, at most 1.")
        self.image_size = image_size
        self.batch_size = batch_size
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        self.num_workers = min(8, (cores or 1) - 1) if num_workers is None else num_workers
        self.training_transform = training_transform(
            image_size, min_crop, horizontal_flip, rand_augment
        )
        self.evaluation_transform = evaluation_transform(image_size)

    @abstractmethod
    def dataset(self, split: Split, transform: ImageTransform) -> MultiLabelDataset:
        """Returns one split, its images passed through `transform`."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A digest of what the data consists of: equal for equal labels, splits and roles."""

    @property
    def recipe(self) -> dict[str, Any]:
        """What makes this object again: its class name and arguments, plain values."""
        return {"class": type(self).__name__, **self.hparams}

    def setup(self, stage: str) -> None:
        """Makes the datasets that the stage needs."""
        if stage == "fit":
            self.train_dataset = self.dataset(Split.TRAIN, self.training_transform)
        if stage in ("fit", "validate"):
            self.val_dataset = self.dataset(Split.VAL, self.evaluation_transform)
        if stage == "test":
            self.test_dataset = self.dataset(Split.TEST, self.evaluation_transform)

    def train_dataloader(self) -> DataLoader[Sample]:
        """Shuffled; the last incomplete batch is dropped, unless it is the only one."""
        devices = self.trainer.world_size if self.trainer else 1
        drop_last = len(self.train_dataset) >= self.batch_size * devices
        return self._loader(self.train_dataset, shuffle=True, drop_last=drop_last)

    def val_dataloader(self) -> DataLoader[Sample]:
        """In order."""
        return self._loader(self.val_dataset)

    def test_dataloader(self) -> DataLoader[Sample]:
        """In order."""
        return self._loader(self.test_dataset)

    def _loader(self, dataset: MultiLabelDataset, **options: Any) -> DataLoader[Sample]:
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            **options,
        )
