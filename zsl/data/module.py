"""What all datasets share: samples, loaders, fingerprint."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate
from torchvision.transforms.v2.functional import pil_to_tensor

from zsl.data.sampler import ResumableSampler
from zsl.data.transforms import ImageTransform, evaluation_transform, training_transform
from zsl.errors import InputError, require
from zsl.labels import Vocabulary
from zsl.pictures import read_picture, read_pixels


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

    def pixels(self, index: int, min_side: int) -> Tensor:
        """Returns uint8 (3, H, W); sides above `min_side` may be reduced to no less than that."""
        return pil_to_tensor(self.picture(index))

    def __getitem__(self, index: int) -> Sample:
        """Returns the transformed image with its target."""
        return Sample(
            index=index,
            image=self.transform(self.pixels(index, self.transform.min_side)),
            target=self.target(index),
        )

    def __getitems__(self, indices: list[int]) -> Batch:
        """Returns a batch: what a loader asks for, with no tensor per image to collate."""
        images = [
            self.transform(self.pixels(index, self.transform.min_side)).permute(1, 2, 0)
            for index in indices
        ]
        return Batch(
            index=torch.tensor(indices),
            # Collated straight into shared memory; channels last, as the backbones want them.
            image=default_collate(images).permute(0, 3, 1, 2),
            target=torch.stack([self.target(index) for index in indices]),
        )


class ImageFileDataset(MultiLabelDataset):
    """Images that are files."""

    @abstractmethod
    def path(self, index: int) -> Path:
        """The file of an image."""

    def picture(self, index: int) -> Image.Image:
        """Reads the image file; raises an `InputError` where that is none."""
        return read_picture(self.path(index))

    def pixels(self, index: int, min_side: int) -> Tensor:
        """Reads the image file at reduced size where its format allows it."""
        return torch.from_numpy(read_pixels(self.path(index), min_side)).permute(2, 0, 1)


class MultiLabelDataModule(pl.LightningDataModule, ABC):
    """Loaders of the three splits of a dataset.

    Subclasses set `vocabulary` when they are made, so that a model can be built for it.

    Args:
        image_size: Side of the square images in pixels.
        batch_size: Images a step, on each device.
        num_workers: Processes that load images; None takes one per core but one, at most 8.
        min_crop: Least part of a training picture's area that a random crop keeps; 1 squashes.
        horizontal_flip: Mirrors half of the training pictures.
        cutout: Side of a rectangle painted over each training picture, relative to its own.
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
        cutout: float,
        rand_augment: bool,
    ) -> None:
        super().__init__()
        require(image_size >= 1, f"data.image_size is {image_size}; expected 1 or more.")
        require(batch_size >= 1, f"data.batch_size is {batch_size}; expected 1 or more.")
        require((num_workers or 0) >= 0, f"data.num_workers is {num_workers}; expected 0 or more.")
        require(0 < min_crop <= 1, f"data.min_crop is {min_crop}; expected above 0, at most 1.")
        require(0 <= cutout <= 1, f"data.cutout is {cutout}; expected 0 to 1.")
        self.image_size = image_size
        self.batch_size = batch_size
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        self.num_workers = min(8, (cores or 1) - 1) if num_workers is None else num_workers
        self._num_batches_done = 0
        self.training_transform = training_transform(
            image_size, min_crop, horizontal_flip, cutout, rand_augment
        )
        self.evaluation_transform = evaluation_transform(image_size)

    @abstractmethod
    def dataset(self, split: Split, transform: ImageTransform) -> MultiLabelDataset:
        """Returns one split, its images passed through `transform`."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A digest of what the data consists of: equal for equal labels, splits and roles."""

    def omitted(self, split: Split) -> int:
        """Listed images of a split that are left out, since they are missing or unreadable."""
        return 0

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
        """Shuffled; the last incomplete batch is dropped, unless it is the only one.

        A resumed run begins where the stopped one was, in mid-epoch too.
        """
        trainer = self.trainer
        processes, rank = (trainer.world_size, trainer.global_rank) if trainer else (1, 0)
        # Each process has its part, one image more where they don't divide evenly.
        num_batches = math.ceil(len(self.train_dataset) / processes) // self.batch_size
        epoch, batch = divmod(self._num_batches_done, self._limited(max(1, num_batches)))
        sampler = ResumableSampler(
            self.train_dataset,
            processes,
            rank,
            self._order["seed"],
            epoch,
            batch * self.batch_size,
        )
        return self._loader(self.train_dataset, sampler=sampler, drop_last=num_batches > 0)

    def _limited(self, num_batches: int) -> int:
        """Batches of an epoch under `trainer.limit_train_batches`."""
        limit = self.trainer.limit_train_batches if self.trainer else 1.0
        return max(
            1, min(num_batches, limit if isinstance(limit, int) else int(num_batches * limit))
        )

    @cached_property
    def _order(self) -> dict[str, Any]:
        """What the order of the training images depends on."""
        return {
            "seed": int(os.environ.get("PL_GLOBAL_SEED", 0)),
            "batch_size": self.batch_size,
            "processes": self.trainer.world_size if self.trainer else 1,
            "data": self.fingerprint,
        }

    def state_dict(self) -> dict[str, Any]:
        """How far the training is, and in which order."""
        assert self.trainer
        progress = self.trainer.fit_loop.epoch_loop.batch_progress.total
        return {"num_batches_done": progress.state_dict()["processed"], "order": self._order}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Begins where a stopped training was, in its order.

        Raises:
            InputError: With this data, batch size or number of processes there is no such order.
        """
        order = state_dict["order"]
        own = self._order | {"seed": order["seed"]}
        for name, value in order.items():
            if own[name] != value:
                raise InputError(
                    f"The checkpoint was trained with {name.replace('_', ' ')} {value}, this run "
                    f"has {own[name]}; resume with the same data, batch size and processes."
                )
        self._order = order
        self._num_batches_done = state_dict["num_batches_done"]
        # A resumed run would otherwise repeat the augmentation of its beginning.
        torch.manual_seed(torch.initial_seed() + self._num_batches_done)

    def val_dataloader(self) -> DataLoader[Sample]:
        """In order."""
        return self._loader(self.val_dataset)

    def test_dataloader(self) -> DataLoader[Sample]:
        """In order."""
        return self._loader(self.test_dataset)

    def _loader(self, dataset: MultiLabelDataset, **options: Any) -> DataLoader[Sample]:
        return DataLoader(
            dataset,
            collate_fn=_as_it_is,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            **options,
        )


def _as_it_is(batch: Any) -> Any:
    """Collates nothing: `__getitems__` makes whole batches."""
    return batch
