"""What all datasets share: samples, loaders, fingerprint."""

from __future__ import annotations

import logging
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.parsing import collect_init_args
from torch.utils.data import DataLoader, Sampler

from zsl.data.dataset import MultiLabelDataset, Sample
from zsl.data.feature_store import FeatureDataset, FeatureStore
from zsl.data.resumable_sampler import ResumableSampler
from zsl.data.seeds import run_seed
from zsl.data.shared_sampler import SharedSampler
from zsl.data.split import Split
from zsl.data.transforms import ImageConfig, training_transform
from zsl.errors import InputError, require
from zsl.files.class_paths import as_plain_values, class_path
from zsl.files.processes import end_children_at_exit, leave_stops_to_parent
from zsl.labels import Role, Vocabulary
from zsl.preprocessing import ImageTransform, evaluation_transform

_log = logging.getLogger(__name__)


class MultiLabelDataModule(pl.LightningDataModule, ABC):
    """Loaders of the three splits of a dataset.

    A subclass sets `vocabulary` when it is made, so that a model can be built for it, and hands
    what it does not change on as `**loading`. Its arguments are recorded in checkpoints, so they
    are plain values or dataclasses of these.

    Args:
        images: The square that is made of each image.
        batch_size: Images a step, on each device.
        num_workers: Processes that load images, not tokens; None takes one per core but one, at
            most 8.
        features: Folder of a feature store that serves the tokens of a frozen backbone in place of
            the images; `python -m zsl.prepare features` makes it.
        views: Number of views in which the store has each training image. One is plain; of several,
            each varied as `images` says, one is drawn in each epoch.
        unlabelled: What to do about training images without a seen label: `keep`, or `drop`, as the
            published code of ML-Decoder does.
        repeats: Repeated augmentation: how often a training image follows upon itself, varied in
            another way each time; an epoch has as many images as without.

    Raises:
        InputError: A setting is out of range.
    """

    vocabulary: Vocabulary

    def __init__(
        self,
        images: ImageConfig,
        batch_size: int = 64,
        num_workers: int | None = None,
        features: str | None = None,
        views: int = 1,
        unlabelled: Literal["keep", "drop"] = "keep",
        repeats: int = 1,
    ) -> None:
        super().__init__()
        require(batch_size >= 1, f"batch_size is {batch_size}; expected 1 or more.")
        require((num_workers or 0) >= 0, f"num_workers is {num_workers}; expected 0 or more.")
        require(views >= 1, f"views is {views}; expected 1 or more.")
        require(repeats >= 1, f"repeats is {repeats}; expected 1 or more.")
        check_keep_or_drop("unlabelled", unlabelled)
        features = None if features is None else absolute(features)
        if features is not None:
            _check_variation(images.variation, views)
        # Those of the subclasses too, from whose `__init__` this one is called; the last is the one
        # that was made.
        calls = collect_init_args(sys._getframe(), [], classes=(MultiLabelDataModule,))
        owner = type(self).__name__
        self._arguments = as_plain_values(calls[-1], owner)
        self.save_hyperparameters(
            as_plain_values({k: v for call in calls for k, v in call.items()}, owner)
        )
        self.images = images
        self.views = {"views": views, **images.variation, **asdict(images.resizing)}
        self.features = features
        self.unlabelled = unlabelled
        self.repeats = repeats
        self.batch_size = batch_size
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        self.num_workers = min(8, (cores or 1) - 1) if num_workers is None else num_workers
        self._num_batches_done = 0
        self._checked: set[Split] = set()
        self.training_transform = training_transform(images)
        self.evaluation_transform = evaluation_transform(images.size, images.resizing)

    @property
    def image_size(self) -> int:
        """Side of the square images in pixels."""
        return self.images.size

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
        """What makes this object again: its class path and arguments, plain values."""
        features = {"features": self.features} if self.features else {}
        return {"class_path": class_path(type(self)), "init_args": self._arguments | features}

    @cached_property
    def feature_store(self) -> FeatureStore | None:
        """The store that serves tokens, if one does."""
        if self.features is None:
            return None
        store = FeatureStore(self.features)
        store.check("views", self.views)
        return store

    def check_images(self, splits: Sequence[Split]) -> None:
        """Refuses splits of which images are missing, where a dataset can tell beforehand."""

    def setup(self, stage: str) -> None:
        """Makes the datasets that the stage needs, after a look at their images.

        What is fitted will be tested too: nobody should learn after a long training that the
        test images are missing.
        """
        stages = {"fit": list(Split), "validate": [Split.VAL], "test": [Split.TEST]}
        # A feature store was made of images that could be read; predictions bring a loader.
        unchecked = [split for split in stages.get(stage, []) if split not in self._checked]
        if self.features is None and unchecked:
            self.check_images(unchecked)
            self._checked.update(unchecked)
        if stage == "fit":
            self.train_dataset = self._served(Split.TRAIN, self.training_transform)
            self.trained_rows = self.rows_to_train(self.train_dataset)
            dropped = len(self.train_dataset) - len(self.trained_rows)
            if dropped:
                _log.info("Dropped %s training images, as the data's settings say.", f"{dropped:,}")
        if stage in ("fit", "validate"):
            self.val_dataset = self.plain_dataset(Split.VAL)
        if stage == "test":
            self.test_dataset = self.plain_dataset(Split.TEST)

    def plain_dataset(self, split: Split) -> MultiLabelDataset:
        """Returns a split as in evaluation, its images not varied, or their stored tokens."""
        return self._served(split, self.evaluation_transform)

    def _served(self, split: Split, transform: ImageTransform) -> MultiLabelDataset:
        images = self.dataset(split, transform)
        return self.feature_store.serve(split, images) if self.feature_store else images

    def rows_to_train(self, dataset: MultiLabelDataset) -> np.ndarray:
        """Which images of the training split are trained on, by their position: int64."""
        if self.unlabelled == "keep":
            return np.arange(len(dataset))
        kept = np.flatnonzero(dataset.has_label(self.vocabulary.columns(Role.SEEN)))
        require(len(kept) > 0, f"None of the {len(dataset):,} training images has a seen label.")
        return kept

    def train_dataloader(self) -> DataLoader[Sample]:
        """The training images, shuffled; an incomplete last batch is dropped unless it is the only.

        A resumed run begins where the stopped one was, in mid-epoch too.
        """
        sampler = ResumableSampler(
            self.trained_rows, *self._processes, self._order["seed"], self.repeats
        )
        num_batches = len(sampler) // self.batch_size
        epoch, batch = divmod(self._num_batches_done, self._limited(max(1, num_batches)))
        sampler.begin(epoch, batch * self.batch_size)
        return self.loader(self.train_dataset, sampler=sampler, drop_last=num_batches > 0)

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
            "seed": run_seed(),
            "batch_size": self.batch_size,
            "processes": self._processes[0],
            "data": self.fingerprint,
            "unlabelled": self.unlabelled,
            "repeats": self.repeats,
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

    def val_dataloader(self) -> DataLoader[Sample]:
        """The validation images, in the split's order."""
        return self.ordered_loader(self.val_dataset, *self._processes, equal=True)

    def test_dataloader(self) -> DataLoader[Sample]:
        """The test images, in the split's order."""
        return self.ordered_loader(self.test_dataset, *self._processes, equal=True)

    @property
    def _processes(self) -> tuple[int, int]:
        """How many processes train, and which of them this is."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)

    def ordered_loader(
        self,
        dataset: MultiLabelDataset,
        num_processes: int = 1,
        rank: int = 0,
        *,
        images: Sampler | None = None,
        equal: bool = False,
    ) -> DataLoader[Sample]:
        """Returns a loader of the batches that a process has of a dataset in order.

        Args:
            dataset: A split.
            num_processes: Processes that share its batches.
            rank: Which of them this is.
            images: What to read, in order, if not the images as they are.
            equal: Whether all get equally many batches; some then come twice.
        """
        order = range(len(dataset)) if images is None else images
        sampler = SharedSampler(order, self.batch_size, num_processes, rank, equal)
        return self.loader(dataset, sampler=sampler)

    def loader(self, dataset: MultiLabelDataset, **options: Any) -> DataLoader[Sample]:
        """Returns a loader of the dataset, in order unless `options` has a sampler."""
        # Reading tokens takes less than handing them over.
        num_workers = 0 if isinstance(dataset, FeatureDataset) else self.num_workers
        end_children_at_exit()
        return DataLoader(
            dataset,
            collate_fn=_as_it_is,
            batch_size=self.batch_size,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            worker_init_fn=_begin_worker,
            pin_memory=torch.cuda.is_available(),
            # A loader draws a seed for its processes: not from the generator of the model.
            generator=torch.Generator().manual_seed(run_seed()),
            **options,
        )


def absolute(path: str) -> str:
    """Returns the path by which a checkpoint finds the data again from any working directory.

    To be called before `super().__init__`, which records the arguments as they then are.
    """
    return str(Path(path).expanduser().resolve())


def check_keep_or_drop(name: str, value: str) -> None:
    """Refuses another word for what to do about images."""
    require(value in ("keep", "drop"), f"{name} is {value!r}; expected keep or drop.")


def _begin_worker(_: int) -> None:
    leave_stops_to_parent()


def _check_variation(variation: dict[str, Any], views: int) -> None:
    """Refuses one view that varies: it would be the same in each epoch; and views that don't."""
    plain = ImageConfig().variation
    varied = [f"images.{name} {now}" for name, now in variation.items() if now != plain[name]]
    if views > 1:
        require(len(varied) > 0, f"views is {views}, but nothing varies; set it to 1.")
        return
    require(
        not varied,
        f"A feature store of one view has plain images, but {', '.join(varied)} varies them; "
        "raise views (to 4, say), or add --config data/features.yaml, which varies nothing.",
    )


def _as_it_is(batch: Any) -> Any:
    """Returns the batch, which `__getitems__` has made whole."""
    return batch
