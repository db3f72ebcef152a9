"""The user's own photographs: a folder, a table of tags and a class file."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from zsl.data.datamodule import MultiLabelDataModule
from zsl.data.dataset import ImageFileDataset, Split
from zsl.errors import InputError, did_you_mean, require
from zsl.files.images import unreadable
from zsl.files.tables import place, read_table
from zsl.labels import Role, Vocabulary
from zsl.preprocessing import ImageTransform

_log = logging.getLogger(__name__)


class TableDataset(ImageFileDataset):
    """The images of some rows.

    Args:
        paths: Image files.
        label_lists: For each image the positions of its labels in the vocabulary.
        num_labels: Length L of the vocabulary.
        transform: From pixels to those of the batch.
    """

    def __init__(
        self,
        paths: list[Path],
        label_lists: list[np.ndarray],
        num_labels: int,
        transform: ImageTransform,
    ) -> None:
        super().__init__(transform)
        self.paths = paths
        self.label_lists = label_lists
        self.num_labels = num_labels

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)

    def path(self, index: int) -> Path:
        """The file of an image."""
        return self.paths[index]

    def target(self, index: int) -> Tensor:
        """Returns the int8 (L,) target."""
        target = torch.zeros(self.num_labels, dtype=torch.int8)
        target[torch.from_numpy(self.label_lists[index])] = 1
        return target


class TableDataModule(MultiLabelDataModule):
    """Images listed with their tags in a CSV or Parquet file.

    Held-out and unseen labels of training images are left out of the training.

    Args:
        root: Folder that the other paths are relative to.
        table: CSV or Parquet file with the columns `image` (path below `root`), `labels` (names
            joined by `separator`; empty for an image without any) and `split` (train, val or
            test).
        classes: CSV with the columns `name` and `role` (seen, held_out or unseen). Where it
            holds out no label, a tenth of the seen ones is drawn.
        separator: Between the names of a `labels` cell.
        held_out_seed: Of that draw.
        image_size: Side of the square images in pixels.
        batch_size: Images a step, on each device.
        num_workers: Processes that load images; None takes one per core but one, at most 8.
        min_crop: Least part of a training image's area that a random crop keeps; 1 squashes.
        horizontal_flip: Mirrors half of the training images.
        cutout: Side of a rectangle painted over each training image, relative to its own.
        rand_augment: Applies RandAugment to training images.
        features: Folder of a feature store, which serves tokens of a frozen backbone in place of
            the images; `python -m zsl.prepare features` makes it.
        views: Number of views in which the store has each training image, varied in each by the
            four arguments before; 1 is plain.

    Raises:
        InputError: A file is missing, or a line of one is wrong.
    """

    def __init__(
        self,
        root: str,
        table: str = "labels.csv",
        classes: str = "classes.csv",
        separator: str = "|",
        held_out_seed: int = 0,
        image_size: int = 224,
        batch_size: int = 64,
        num_workers: int | None = None,
        min_crop: float = 0.6,
        horizontal_flip: bool = True,
        cutout: float = 0.0,
        rand_augment: bool = False,
        features: str | None = None,
        views: int = 1,
    ) -> None:
        super().__init__(
            image_size,
            batch_size,
            num_workers,
            min_crop,
            horizontal_flip,
            cutout,
            rand_augment,
            features,
            views,
        )
        # A checkpoint must find the data again from any working directory.
        root = str(Path(root).expanduser().resolve())
        self.save_hyperparameters()
        self.root = Path(root)
        if not self.root.is_dir():
            raise InputError(
                f"The data folder {root} does not exist; set data.root to the folder that holds "
                f"{table} and {classes}."
            )
        require(bool(separator), "data.separator is empty; expected the sign between labels.")
        self.table_path = self.root / table
        self.vocabulary = _read_classes(self.root / classes)
        rows = read_table(self.table_path, ("image", "labels", "split"))
        self.images: list[str] = rows["image"].tolist()
        self.splits: list[str] = rows["split"].tolist()
        _check_rows(self.images, self.splits, self.table_path)
        self.label_lists = _parse_labels(
            rows["labels"].tolist(),
            self.vocabulary,
            separator,
            self.table_path,
            self.root / classes,
        )
        self._choose_held_out(held_out_seed)
        self._checked_splits: set[Split] = set()

    def check_images(self, splits: Sequence[Split]) -> None:
        """Refuses missing and alien files; each split is looked at once."""
        for split in splits:
            if split not in self._checked_splits:
                self._check_split(split)
                self._checked_splits.add(split)

    def dataset(self, split: Split, transform: ImageTransform) -> TableDataset:
        """Returns the images of a split.

        Raises:
            InputError: The table has no row of that split.
        """
        rows = self._rows(split)
        return TableDataset(
            [self.root / self.images[row] for row in rows],
            [self.label_lists[row] for row in rows],
            len(self.vocabulary),
            transform,
        )

    @cached_property
    def fingerprint(self) -> str:
        """A digest of paths, labels, splits, names and roles; the pixels are not in it."""
        digest = hashlib.sha256()
        digest.update(repr([self.vocabulary.names, self.vocabulary.roles]).encode())
        for image, split, labels in zip(self.images, self.splits, self.label_lists, strict=True):
            digest.update(repr((image, split, labels.tolist())).encode())
        return digest.hexdigest()[:16]

    def _rows(self, split: Split) -> list[int]:
        rows = [row for row, name in enumerate(self.splits) if name == split]
        if not rows:
            raise InputError(
                f"{self.table_path} has no row with the split {split.value!r} "
                f"(found: {', '.join(sorted(set(self.splits)))}); train, val and test are all "
                "needed."
            )
        return rows

    def _choose_held_out(self, seed: int) -> None:
        """Draws held-out labels where the class file names none; selection needs their images."""
        in_val: set[str] = set()
        for split, positions in zip(self.splits, self.label_lists, strict=True):
            if split == Split.VAL:
                in_val.update(self.vocabulary.names[position] for position in positions)
        held_out = self.vocabulary.select(Role.HELD_OUT)
        if not held_out:
            candidates = in_val.intersection(self.vocabulary.select(Role.SEEN))
            self.vocabulary = self.vocabulary.hold_out(candidates, 0.1, seed)
            held_out = self.vocabulary.select(Role.HELD_OUT)
            _log.info(
                "The class file holds out no label; held out for selection: %s",
                ", ".join(held_out),
            )
        elif Split.VAL in self.splits and not in_val.intersection(held_out):
            raise InputError(
                f"No image of the val split in {self.table_path} has one of the "
                f"{len(held_out)} held-out labels, so no checkpoint can be selected; add some, "
                "or hold out other labels."
            )

    def _check_split(self, split: Split) -> None:
        """Finds missing and alien files before hours of training; opens headers only."""
        missing = []
        for row in tqdm(self._rows(split), f"checking {split} images", delay=3):
            path = self.root / self.images[row]
            try:
                with Image.open(path):
                    pass
            except (FileNotFoundError, NotADirectoryError):
                missing.append(row)
            except (OSError, SyntaxError, Image.DecompressionBombError) as error:
                raise InputError(
                    f"{place(self.table_path, row)}: {unreadable(path, error)}"
                ) from error
        if missing:
            path = self.root / self.images[missing[0]]
            folder = "" if path.parent.is_dir() else f"; the folder {path.parent} does not exist"
            raise InputError(
                f"{len(missing)} of {len(self._rows(split))} {split} images are missing, the first "
                f"is {path} ({place(self.table_path, missing[0])}){folder}; paths in the table "
                f"are relative to {self.root}."
            )


def _read_classes(path: Path) -> Vocabulary:
    vocabulary = Vocabulary.from_table(path)
    for role in (Role.SEEN, Role.UNSEEN):
        if not vocabulary.select(role):
            raise InputError(
                f"{path} has no {role} label among its {len(vocabulary)}; zero-shot learning "
                f"trains on seen labels and tests on unseen ones, so give some the role {role}."
            )
    return vocabulary


def _check_rows(images: list[str], splits: list[str], path: Path) -> None:
    """Raises an `InputError` for the first row with a wrong split, or an image met before."""
    first_row: dict[str, int] = {}
    for row, (image, split) in enumerate(zip(images, splits, strict=True)):
        if not image:
            raise InputError(f"{place(path, row)}: the image path is empty.")
        if split not in list(Split):
            raise InputError(
                f"{place(path, row)}: the split is {split!r}; expected one of "
                f"{', '.join(Split)}." + did_you_mean(split, Split)
            )
        if image in first_row:
            raise InputError(
                f"{place(path, row)}: the image {image!r} is there twice, first at "
                f"{place(path, first_row[image])}; give it one row with all its labels."
            )
        first_row[image] = row


def _parse_labels(
    cells: list[str], vocabulary: Vocabulary, separator: str, path: Path, class_file: Path
) -> list[np.ndarray]:
    """Positions of each row's labels in the vocabulary, as small int arrays."""
    label_lists = []
    for row, cell in enumerate(cells):
        names = [name.strip() for name in cell.split(separator)] if cell else []
        for name in names:
            if not name:
                raise InputError(
                    f"{place(path, row)}: an empty label in {cell!r}; expected names joined by "
                    f"{separator!r}."
                )
            if name not in vocabulary:
                raise InputError(
                    f"{place(path, row)}: the label {name!r} is not in {class_file}; add it there "
                    "with a role, or take it out here." + did_you_mean(name, vocabulary.names)
                )
        label_lists.append(np.unique(np.array(vocabulary.indices(names), dtype=np.int64)))
    return label_lists
