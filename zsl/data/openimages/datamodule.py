"""The data module of OpenImages."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from zsl.data.datamodule import MultiLabelDataModule, absolute
from zsl.data.dataset import ImageFileDataset
from zsl.data.openimages.image_folders import MISSING
from zsl.data.openimages.index import ALIASES, SplitIndex, open_index
from zsl.data.openimages.source_files import SourceFiles, Version
from zsl.data.split import Split
from zsl.data.transforms import ImageConfig
from zsl.errors import InputError, require
from zsl.files.digests import bytes_digest, text_digest
from zsl.labels import Role, Vocabulary
from zsl.preprocessing import ImageTransform

_log = logging.getLogger(__name__)


class OpenImagesDataset(ImageFileDataset):
    """Some images of a split.

    Args:
        index: The split.
        rows: Which of its images, int64 (N,).
        root: The folder of the folders of image files.
        columns: The column of each label in the index, int64 (L,).
        unknown: The target of a label that nobody looked for in an image.
        transform: Turns the pixels of an image into those of the batch.
    """

    def __init__(
        self,
        index: SplitIndex,
        rows: np.ndarray,
        root: Path,
        columns: np.ndarray,
        unknown: int,
        transform: ImageTransform,
    ) -> None:
        super().__init__(transform)
        self.index = index
        self.rows = rows
        self.root = root
        self.columns = columns
        self.unknown = unknown

    def __len__(self) -> int:
        """Number of images."""
        return len(self.rows)

    def path(self, index: int) -> Path:
        """The file of an image."""
        return self.root / self.index.file(self.rows[index])

    def target(self, index: int) -> Tensor:
        """Returns the int8 (L,) target."""
        target = self.index.targets.target(self.rows[index], self.unknown)
        return target[torch.from_numpy(self.columns)]

    def has_label(self, columns: slice) -> np.ndarray:
        """Which images have one of some labels: bool (N,)."""
        return self.index.targets.has_label(self.columns[columns])[self.rows]


class OpenImagesDataModule(MultiLabelDataModule):
    """OpenImages: labels that people verified as present or absent in nine million images.

    V6 has 9,605 trainable labels, all of them seen. V4's zero-shot split (Huynh and Elhamifar,
    CVPR 2020) has 7,186 seen and 400 unseen ones; some seen ones are held out of the training,
    for the selection of checkpoints. All other labels of an image are unknown: 14 of 9,605 were
    looked for in an average test image. Only verified labels are read, not those of machines, and
    only images that have one among these labels. Validation and test images are the official ones.

    Args:
        root: Folder of the official files, or of folders of them by split; a missing one is named
            with its address.
        version: `v6`, or `v4_zero_shot`.
        unknown: What an unknown label of a training image counts as: `ignore` leaves it out of the
            loss, `negative` takes it as absent. Validation and test always leave it out.
        missing: What to do about images whose files are not there: `error`, or `skip`.
        image_folder: Folder below `root` of train/, validation/ and test/, or of train_0/ and so
            on; the images are `<ImageID>.jpg`. None takes images, where it is there, or `root`.
        prepared: Folder below `root`, or an absolute one, for the index; None takes `zsl`.
        held_out_fraction: Fraction of the seen labels that is held out, where there are unseen
            ones.
        held_out_seed: Seed of their draw.
        images: The square that is made of each image.
        loading: Further arguments of `MultiLabelDataModule`.

    Raises:
        InputError: A file is missing or wrong.
    """

    def __init__(
        self,
        root: str,
        version: Version = "v6",
        unknown: Literal["ignore", "negative"] = "ignore",
        missing: Literal["error", "skip"] = "error",
        image_folder: str | None = None,
        prepared: str | None = None,
        held_out_fraction: float = 0.05,
        held_out_seed: int = 0,
        images: ImageConfig = ImageConfig(cutout=0.5, rand_augment="published"),
        **loading: Any,
    ) -> None:
        root = absolute(root)
        super().__init__(images, **loading)
        require(
            unknown in ("ignore", "negative"),
            f"unknown is {unknown!r}; expected ignore or negative.",
        )
        require(missing in ("error", "skip"), f"missing is {missing!r}; expected error or skip.")
        require(
            0 < held_out_fraction < 1,
            f"held_out_fraction is {held_out_fraction}; expected between 0 and 1.",
        )
        files = SourceFiles.find(Path(root), version)
        self.image_folder = _image_folder(Path(root), image_folder)
        self.index = open_index(files, self.image_folder, Path(root, prepared or "zsl"))
        self.unknown = unknown
        self.missing = missing
        self.vocabulary = self._vocabulary(held_out_fraction, held_out_seed)
        counts = ", ".join(f"{len(self.index.splits[split]):,} {split}" for split in Split)
        _log.info("OpenImages (%s): %s images; %s.", version, counts, self.vocabulary)
        if alike := self.index.classes.aliases:
            _log.info(
                "%d labels are called as another one is, and have their LabelName added; for "
                "WordVectors set model.encoder.aliases to %s.",
                len(alike),
                self.index.folder / ALIASES,
            )

    def _vocabulary(self, held_out_fraction: float, seed: int) -> Vocabulary:
        classes = self.index.classes
        vocabulary = Vocabulary(classes.names, classes.roles)
        if Role.UNSEEN not in classes.roles:
            return vocabulary
        # Selection needs both: what has no image with it, or none without, is not measured.
        val = self.index.splits[Split.VAL].targets
        measured = (val.count(1) > 0) & (val.count(0) > 0)
        found = zip(classes.names, classes.roles, measured, strict=True)
        candidates = [name for name, role, is_measured in found if role == "seen" and is_measured]
        return vocabulary.hold_out(candidates, held_out_fraction, seed)

    def _usable(self, split: Split) -> np.ndarray:
        return np.flatnonzero(self.index.splits[split].place != MISSING)

    def omitted(self, split: Split) -> int:
        """Images of a split whose files are missing."""
        return int((self.index.splits[split].place == MISSING).sum())

    def check_images(self, splits: Sequence[Split]) -> None:
        """Refuses missing images, unless `missing` says to skip them."""
        if self.missing == "skip":
            return
        for split in splits:
            index = self.index.splits[split]
            lost = np.flatnonzero(index.place == MISSING)
            if len(lost):
                raise InputError(
                    f"{len(lost):,} of {len(index):,} {split} images are missing, the first is "
                    f"{self.image_folder / index.file(lost[0])}; complete them, set image_folder, "
                    "or leave them out with missing skip."
                )

    def dataset(self, split: Split, transform: ImageTransform) -> OpenImagesDataset:
        """Returns the images of a split.

        Raises:
            InputError: Not one of them is there.
        """
        rows, index = self._usable(split), self.index.splits[split]
        require(
            len(rows) > 0,
            f"Not one of the {len(index):,} {split} images is in {self.image_folder}, the first "
            f"would be {index.file(0)}; set image_folder to their folder.",
        )
        column_of = {name: column for column, name in enumerate(self.index.classes.names)}
        columns = np.array([column_of[name] for name in self.vocabulary.names])
        is_negative = split is Split.TRAIN and self.unknown == "negative"
        return OpenImagesDataset(
            index, rows, self.image_folder, columns, 0 if is_negative else -1, transform
        )

    @cached_property
    def fingerprint(self) -> str:
        """A digest of images, labels, splits and roles; the pixels are not in it."""
        there = bytes_digest((s.place != MISSING).tobytes() for s in self.index.splits.values())
        parts = [self.index.fingerprint, *self.vocabulary.names, *self.vocabulary.roles]
        return text_digest([*parts, self.unknown, there])


def _image_folder(root: Path, name: str | None) -> Path:
    if name is None:
        return root / "images" if (root / "images").is_dir() else root
    folder = root / name
    require(
        folder.is_dir(),
        f"The image folder {folder} does not exist; set image_folder to the folder of train, "
        "validation and test.",
    )
    return folder
