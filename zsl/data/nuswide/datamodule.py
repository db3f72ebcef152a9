"""The data module of NUS-WIDE."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zsl.data.datamodule import MultiLabelDataModule, absolute
from zsl.data.dataset import ImageFileDataset
from zsl.data.nuswide.build_index import lost_path, open_index
from zsl.data.nuswide.check_images import check_shrunken
from zsl.data.nuswide.folders import Folders
from zsl.data.nuswide.index import NUSWideIndex, State
from zsl.data.split import Split
from zsl.data.transforms import ImageConfig
from zsl.errors import InputError, did_you_mean, listing, others, require
from zsl.files.digests import text_digest
from zsl.files.images import read_image
from zsl.labels import Role, Vocabulary
from zsl.preprocessing import ImageTransform

_log = logging.getLogger(__name__)


class NUSWideDataset(ImageFileDataset):
    """Some images of an index.

    Args:
        index: The index.
        rows: Which of its images, int64 (N,).
        folder: The folder of the image files, or of their smaller copies.
        originals: The folder of the image files.
        vocabulary: The L labels of the index.
        transform: Turns the pixels of an image into those of the batch.
    """

    def __init__(
        self,
        index: NUSWideIndex,
        rows: np.ndarray,
        folder: Path,
        originals: Path,
        vocabulary: Vocabulary,
        transform: ImageTransform,
    ) -> None:
        super().__init__(transform)
        self.index = index
        column_of = {name: column for column, name in enumerate(index.names)}
        self.order = torch.tensor([column_of[name] for name in vocabulary.names])
        self.rows = rows
        self.folder = folder
        self.originals = originals

    def __len__(self) -> int:
        """Number of images."""
        return len(self.rows)

    def path(self, index: int) -> Path:
        """The file of an image."""
        return self.folder / self.index.images[self.rows[index]].as_py()

    def image(self, index: int) -> Image.Image:
        """Reads the image file itself: a copy is squashed."""
        return read_image(self.originals / self.index.images[self.rows[index]].as_py())

    def target(self, index: int) -> Tensor:
        """Returns the int8 (L,) target."""
        return self.index.target(self.rows[index])[self.order]


class NUSWideDataModule(MultiLabelDataModule):
    """NUS-WIDE: 925 seen and 81 unseen labels, from the files people really have.

    Of the training images a part is kept for the selection of checkpoints, on seen labels that
    are held out of the training.

    Args:
        root: Folder in which NUS-WIDE was unpacked: the official files, ML-Decoder's data.csv, or
            a CSV with a column for each concept.
        image_folder: Folder of the images below `root`; None takes Flickr, else images, else
            `root`.
        table: CSV below `root` to take the labels from; None takes the official files where they
            are complete.
        prepared: Folder below `root`, or an absolute one, for the index and the shrunken images;
            None takes `zsl`.
        resized: Reads the images that `zsl.prepare nuswide --resize` of this size wrote.
        missing: What to do about listed images that are not there or can't be read: `error`, or
            `skip` to leave them out.
        unseen: Names of the unseen labels; None takes the 81 concepts.
        held_out_fraction: Fraction of the seen labels that is held out for selection.
        val_fraction: Fraction of the training images that selection is measured on.
        split_seed: Seed of the draws of held-out labels and of validation images.
        images: The square that is made of each image.
        loading: Further arguments of `MultiLabelDataModule`.

    Raises:
        InputError: A file is missing, or a line of one is wrong.
    """

    def __init__(
        self,
        root: str,
        image_folder: str | None = None,
        table: str | None = None,
        prepared: str | None = None,
        resized: int | None = None,
        missing: Literal["error", "skip"] = "error",
        unseen: list[str] | None = None,
        held_out_fraction: float = 0.05,
        val_fraction: float = 0.05,
        split_seed: int = 0,
        images: ImageConfig = ImageConfig(cutout=0.5, rand_augment="published"),
        **loading: Any,
    ) -> None:
        root = absolute(root)
        super().__init__(images, **loading)
        for name, value in (
            ("held_out_fraction", held_out_fraction),
            ("val_fraction", val_fraction),
        ):
            require(0 < value < 1, f"{name} is {value}; expected between 0 and 1.")
        require(missing in ("error", "skip"), f"missing is {missing!r}; expected error or skip.")
        self.folders = Folders.find(Path(root), image_folder, prepared)
        self.index = open_index(self.folders, table)
        self.missing = missing
        self.image_folder = self.folders.images
        if resized is not None:
            require(
                images.center_crop is None,
                f"resized is {resized}, whose images are squashed, but images.center_crop is "
                f"{images.center_crop}; set one of them null.",
            )
            self.image_folder = check_shrunken(self.folders, self.index, resized)
        self.rows = self._split(val_fraction, split_seed)
        self.vocabulary = self._vocabulary(unseen, held_out_fraction, split_seed)
        self._describe()

    def _split(self, val_fraction: float, seed: int) -> dict[Split, np.ndarray]:
        """Rows of each split, in the lists' order; missing images keep their place in the draw."""
        train = np.flatnonzero(self.index.is_test == 0)
        count = max(1, round(val_fraction * len(train)))
        require(
            1 <= count < len(train) < len(self.index),
            f"{self.folders.root} lists {len(train)} training images and "
            f"{len(self.index) - len(train)} test images; at least two and one are needed.",
        )
        in_val = np.zeros(len(train), dtype=bool)
        in_val[np.random.default_rng(seed).permutation(len(train))[:count]] = True
        return {
            Split.TRAIN: train[~in_val],
            Split.VAL: train[in_val],
            Split.TEST: np.flatnonzero(self.index.is_test),
        }

    def _vocabulary(
        self, unseen: list[str] | None, held_out_fraction: float, seed: int
    ) -> Vocabulary:
        names = self.index.names
        absent = self.index.info["unseen_without_column"]
        if unseen is None and absent:
            raise InputError(
                f"{listing(absent)} of the published unseen labels are not labels of the "
                f"table in {self.folders.root}; correct their names there, or set unseen."
                + did_you_mean(absent[0], names)
            )
        unseen = self.index.unseen if unseen is None else unseen
        if unknown := [name for name in unseen if name not in names]:
            raise InputError(
                f"unseen: {unknown[0]!r} is not one of the {len(names)} labels of "
                f"{self.folders.root}.{did_you_mean(unknown[0], names)}" + others(unknown)
            )
        require(
            0 < len(set(unseen)) < len(names),
            f"{len(set(unseen))} of {len(names)} labels of {self.folders.root} are unseen; set "
            "unseen to the names of some of them.",
        )
        columns = [column for column, name in enumerate(names) if name not in set(unseen)]
        seen = [names[column] for column in columns]
        train = self.rows[Split.TRAIN]
        num_unknown = self.index.unknown[train].sum(axis=0).A1[columns]
        counts = zip(seen, num_unknown, strict=True)
        if without := [name for name, count in counts if count == len(train)]:
            raise InputError(
                f"The label {without[0]!r} is seen, but of no training image it is known whether "
                "it has it; make it unseen, or add the ground truth of the training images."
                + others(without)
            )
        in_val = self.index.present[self.rows[Split.VAL]].sum(axis=0).A1[columns]
        candidates = [name for name, count in zip(seen, in_val, strict=True) if count]
        roles = [Role.UNSEEN if name in set(unseen) else Role.SEEN for name in names]
        return Vocabulary(names, roles).hold_out(candidates, held_out_fraction, seed)

    def _usable(self, split: Split) -> np.ndarray:
        rows = self.rows[split]
        return rows[self.index.state[rows] == State.PRESENT]

    def _describe(self) -> None:
        counts = ", ".join(f"{len(self.rows[split]):,} {split}" for split in Split)
        labels = ", ".join(f"{len(self.vocabulary.select(role))} {role}" for role in Role)
        _log.info("NUS-WIDE (%s): %s images; %s labels.", self.index.info["layout"], counts, labels)
        for note in self.index.info["notes"]:
            _log.info("note: %s", note)
        omitted = {split: self.omitted(split) for split in Split}
        if self.missing == "skip" and any(omitted.values()):
            counts = ", ".join(f"{count:,} {split}" for split, count in omitted.items())
            _log.info("Left out, since missing or unreadable: %s images.", counts)

    def omitted(self, split: Split) -> int:
        """Listed images of a split that are missing or unreadable."""
        return len(self.rows[split]) - len(self._usable(split))

    def check_images(self, splits: Sequence[Split]) -> None:
        """Refuses missing and unreadable images, unless `missing` says to skip them."""
        if self.missing == "skip":
            return
        rows = np.concatenate([self.rows[split] for split in splits])
        lost = rows[self.index.state[rows] != State.PRESENT]
        if len(lost):
            state = State(self.index.state[lost[0]]).name.lower()
            raise InputError(
                f"{len(lost):,} of {len(rows):,} listed images are missing or unreadable, the "
                f"first is {self.index.images[lost[0]].as_py()} ({state}; looked in "
                f"{self.folders.images}); complete the copy, or leave them out with missing "
                f"skip. {lost_path(self.index.path)} names them all."
            )

    def dataset(self, split: Split, transform: ImageTransform) -> NUSWideDataset:
        """Returns the images of a split.

        Raises:
            InputError: Not one of them can be used.
        """
        rows = self._usable(split)
        require(
            len(rows) > 0,
            f"Not one of the {len(self.rows[split]):,} {split} images is in "
            f"{self.folders.images}; set image_folder to their folder.",
        )
        originals = self.folders.images
        return NUSWideDataset(
            self.index, rows, self.image_folder, originals, self.vocabulary, transform
        )

    @cached_property
    def fingerprint(self) -> str:
        """A digest of images, labels, splits and roles; the pixels are not in it."""
        settings = ("missing", "resized", "val_fraction", "split_seed")
        parts = [self.index.info["fingerprint"], *self.vocabulary.names, *self.vocabulary.roles]
        return text_digest([*parts, *(repr(self.hparams[name]) for name in settings)])
