"""Image files whose targets are all at hand, split officially into training and test images."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from zsl.data.datamodule import MultiLabelDataModule, check_keep_or_drop
from zsl.data.dataset import ImageFileDataset
from zsl.data.held_out_images import split_off
from zsl.data.lost_images import check_files
from zsl.data.split import Split
from zsl.data.transforms import ImageConfig
from zsl.errors import listing, require
from zsl.files.digests import bytes_digest
from zsl.labels import Role, Vocabulary
from zsl.preprocessing import ImageTransform

_log = logging.getLogger(__name__)


class ListedImages(NamedTuple):
    """Some images with their targets."""

    paths: list[Path]
    """Their files."""
    targets: np.ndarray
    """int8 (N, L): 1 present, 0 absent, -1 unknown."""

    def at(self, rows: np.ndarray) -> ListedImages:
        """Returns the images at the rows, int64 or a mask."""
        positions = np.arange(len(self.paths))[rows]
        return ListedImages([self.paths[row] for row in positions], self.targets[positions])


class ListedDataset(ImageFileDataset):
    """Listed images.

    Args:
        images: The images, with the columns of the vocabulary.
        transform: Turns the pixels of an image into those of the batch.
    """

    def __init__(self, images: ListedImages, transform: ImageTransform) -> None:
        super().__init__(transform)
        self.paths, targets = images
        self.targets = torch.from_numpy(targets)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)

    def path(self, index: int) -> Path:
        """The file of an image."""
        return self.paths[index]

    def target(self, index: int) -> Tensor:
        """Returns the int8 (L,) target."""
        return self.targets[index]


class ListedDataModule(MultiLabelDataModule):
    """Images with an official test split; the validation split is taken from the training images.

    A subclass hands its images over by `take` when it is made.

    Args:
        images: The square that is made of each image.
        val_fraction: Fraction of the training images on which the checkpoint is selected.
        held_out_seed: Seed of the draws of these images and, beside unseen labels, of the seen
            labels that are held out for selection: a tenth.
        with_unseen: What to do about training images that show an unseen label: `keep`, as work on
            multi-label zero-shot learning does, or `drop`, as work on detection does. The label
            itself is never trained.
        loading: Further arguments of `MultiLabelDataModule`.

    Raises:
        InputError: A setting is out of range.
    """

    def __init__(
        self,
        images: ImageConfig,
        val_fraction: float = 0.05,
        held_out_seed: int = 0,
        with_unseen: Literal["keep", "drop"] = "keep",
        **loading: Any,
    ) -> None:
        super().__init__(images, **loading)
        check_keep_or_drop("with_unseen", with_unseen)
        self.val_fraction = val_fraction
        self.held_out_seed = held_out_seed
        self.with_unseen = with_unseen

    def take(
        self,
        train: ListedImages,
        test: ListedImages,
        names: Sequence[str],
        unseen: Collection[str],
        source: str,
    ) -> None:
        """Splits the images and gives the labels their roles.

        Args:
            train: The training images.
            test: The test images.
            names: The labels of the columns.
            unseen: Those that are not trained.
            source: Where images come from, for messages.

        Raises:
            InputError: Too few images are left, or none shows a label that is needed.
        """
        is_unseen = np.isin(names, list(unseen))
        if self.with_unseen == "drop":
            train = train.at(~(train.targets[:, is_unseen] == 1).any(axis=1))
        trained, selected = split_off(len(train.paths), self.val_fraction, self.held_out_seed)
        parts = {
            Split.TRAIN: train.at(trained),
            Split.VAL: train.at(selected),
            Split.TEST: test,
        }
        self.vocabulary = Vocabulary(names, np.where(is_unseen, Role.UNSEEN, Role.SEEN).tolist())
        if unseen:
            in_val = (parts[Split.VAL].targets == 1).any(axis=0) & ~is_unseen
            candidates = [name for name, found in zip(names, in_val, strict=True) if found]
            self.vocabulary = self.vocabulary.hold_out(candidates, 0.1, self.held_out_seed)
        column_of = {name: column for column, name in enumerate(names)}
        order = [column_of[name] for name in self.vocabulary.names]
        self.parts = {
            split: ListedImages(part.paths, np.ascontiguousarray(part.targets[:, order]))
            for split, part in parts.items()
        }
        self._source = source
        self._check_labels()

    def _check_labels(self) -> None:
        """Reports seen labels that can't be learned and unseen ones that can't be tested."""
        for split, role in ((Split.TRAIN, Role.SEEN), (Split.TEST, Role.UNSEEN)):
            targets = self.parts[split].targets[:, self.vocabulary.columns(role)]
            names = np.array(self.vocabulary.select(role), dtype=object)
            absent = names[~(targets == 1).any(axis=0)].tolist()
            if not absent:
                continue
            message = f"{len(absent)} of {len(names)} {role} labels are in no {split} image"
            require(
                len(absent) < len(names), f"{message} of {self._source}; complete the annotations."
            )
            _log.warning("%s: %s.", message, listing(absent))

    def check_images(self, splits: Sequence[Split]) -> None:
        """Refuses missing files and files that are not images."""
        for split in splits:
            images = self.dataset(split, self.evaluation_transform)
            check_files(images, split, f"unpack {self._source} again")

    def dataset(self, split: Split, transform: ImageTransform) -> ListedDataset:
        """Returns the images of a split."""
        return ListedDataset(self.parts[split], transform)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of names, roles, file names, targets and splits; the pixels are not in it."""
        names = "\0".join([*self.vocabulary.names, *self.vocabulary.roles])
        files = ("\0".join(path.name for path in part.paths) for part in self.parts.values())
        targets = (part.targets.tobytes() for part in self.parts.values())
        return bytes_digest([names.encode(), *(text.encode() for text in files), *targets])
