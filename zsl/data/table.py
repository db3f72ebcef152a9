"""The user's own images: a folder, a table of tags and a class file."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from zsl.data.datamodule import MultiLabelDataModule, absolute, check_keep_or_drop
from zsl.data.dataset import ImageFileDataset, MultiLabelDataset
from zsl.data.lost_images import find_lost
from zsl.data.split import Split
from zsl.data.transforms import ImageConfig
from zsl.errors import (
    InputError,
    did_you_mean,
    listing,
    others,
    program,
    refuse_repeated,
    require,
)
from zsl.files.digests import text_digest
from zsl.files.label_lists import report_look_alikes
from zsl.files.tables import other_rows, read_table, row_name
from zsl.labels import Role, Vocabulary
from zsl.preprocessing import ImageTransform

_log = logging.getLogger(__name__)


class TableDataset(ImageFileDataset):
    """The images of some rows.

    Args:
        paths: Image files.
        label_lists: For each image the names of its labels.
        vocabulary: The L labels.
        transform: Turns the pixels of an image into those of the batch.
    """

    def __init__(
        self,
        paths: list[Path],
        label_lists: list[list[str]],
        vocabulary: Vocabulary,
        transform: ImageTransform,
    ) -> None:
        super().__init__(transform)
        self.paths = paths
        # Small arrays: a list of ints takes ten times as much.
        self.positions = [np.array(vocabulary.indices(names), np.int32) for names in label_lists]
        self.num_labels = len(vocabulary)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)

    def path(self, index: int) -> Path:
        """The file of an image."""
        return self.paths[index]

    def target(self, index: int) -> Tensor:
        """Returns the int8 (L,) target."""
        target = torch.zeros(self.num_labels, dtype=torch.int8)
        target[torch.from_numpy(self.positions[index]).long()] = 1
        return target

    def has_label(self, columns: slice) -> np.ndarray:
        """Which images have one of some labels: bool (N,), by columns of the targets."""
        wanted = np.zeros(self.num_labels, bool)
        wanted[columns] = True
        return np.fromiter((wanted[own].any() for own in self.positions), bool, len(self))


class TableDataModule(MultiLabelDataModule):
    """Images listed with their tags in a CSV or Parquet file.

    Held-out and unseen labels of training images are left out of the training.

    Args:
        root: Folder that the other paths are relative to.
        table: CSV or Parquet file with the columns `image` (path below `root`), `labels` (names
            joined by `separator`; empty for an image without any) and `split` (train, val or
            test).
        classes: CSV or Parquet file with the columns `name` and `role` (seen, held_out or unseen).
            Where it has unseen labels and holds out none, a tenth of the seen ones is drawn.
            Without unseen ones nothing is drawn: all that is seen is trained.
        separator: The text between the names of a `labels` cell.
        held_out_seed: Seed of the draw of held-out labels.
        images: The square that is made of each image.
        with_unseen: What to do about training images that show an unseen label: `keep`, as work on
            multi-label zero-shot learning does, or `drop`, as work on detection does. The label
            itself is never trained.
        loading: Further arguments of `MultiLabelDataModule`.

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
        images: ImageConfig = ImageConfig(min_crop=0.6, horizontal_flip=True),
        with_unseen: Literal["keep", "drop"] = "keep",
        **loading: Any,
    ) -> None:
        root = absolute(root)
        super().__init__(images, **loading)
        self.root = Path(root)
        if not self.root.is_dir():
            raise InputError(
                f"The data folder {root} does not exist; set root to the folder that holds "
                f"{table} and {classes}."
            )
        check_keep_or_drop("with_unseen", with_unseen)
        require(bool(separator), "separator is empty; expected the sign between labels.")
        self.table_path = self.root / table
        for name in (table, classes):
            require(
                (self.root / name).is_file(),
                f"The file {self.root / name} does not exist; {program('prepare table')} --root "
                f"{self.root} makes it of a folder of images and their tags, or set table and "
                "classes to yours.",
            )
        self.vocabulary = Vocabulary.from_table(self.root / classes)
        report_look_alikes(self.vocabulary.names, str(self.root / classes))
        rows = read_table(self.table_path, ("image", "labels", "split"), lists=["labels"])
        # One image is one path, however it is written.
        self.image_paths = [path and os.path.normpath(path) for path in rows["image"]]
        self.splits: list[str] = rows["split"]
        _check_rows(self.image_paths, self.splits, self.table_path)
        self.label_lists = _parse_labels(
            rows["labels"],
            self.vocabulary,
            separator,
            self.table_path,
            self.root / classes,
        )
        self._choose_held_out(held_out_seed)
        self.with_unseen = with_unseen

    def setup(self, stage: str) -> None:
        """Makes the datasets; says how many training images show an unseen label."""
        super().setup(stage)
        if stage != "fit" or self.with_unseen == "drop":
            return
        if number := int(self._shows_unseen(self.train_dataset).sum()):
            _log.info(
                "%s of %s training images show an unseen label. They are trained on without it; "
                "data.with_unseen drop leaves them out.",
                f"{number:,}",
                f"{len(self.train_dataset):,}",
            )

    def _shows_unseen(self, dataset: MultiLabelDataset) -> np.ndarray:
        return dataset.has_label(self.vocabulary.columns(Role.UNSEEN))

    def check_images(self, splits: Sequence[Split]) -> None:
        """Refuses missing files and files that are not images."""
        problems = [problem for split in splits for problem in self._problems(split)]
        require(not problems, " ".join(problems))

    def dataset(self, split: Split, transform: ImageTransform) -> TableDataset:
        """Returns the images of a split.

        Raises:
            InputError: The table has no row of that split.
        """
        rows = self._rows(split)
        return TableDataset(
            [self.root / self.image_paths[row] for row in rows],
            [self.label_lists[row] for row in rows],
            self.vocabulary,
            transform,
        )

    def rows_to_train(self, dataset: MultiLabelDataset) -> np.ndarray:
        """Which images of the training split are trained on, by their position: int64."""
        kept = super().rows_to_train(dataset)
        if self.with_unseen == "keep":
            return kept
        dropped = self._shows_unseen(dataset)
        kept = kept[~dropped[kept]]
        require(
            len(kept) > 0,
            f"All {len(dropped):,} training images show an unseen label, and with_unseen is drop; "
            "keep them, or name fewer labels unseen.",
        )
        return kept

    @cached_property
    def fingerprint(self) -> str:
        """A digest of paths, labels, splits, names and roles; the pixels are not in it."""
        rows = zip(self.image_paths, self.splits, self.label_lists, strict=True)
        return text_digest([*self.vocabulary.names, *self.vocabulary.roles, *map(repr, rows)])

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
        if not self.vocabulary.select(Role.UNSEEN):
            return  # Fixed classes: nothing stands in for unseen labels.
        labels_of_val = [
            names
            for split, names in zip(self.splits, self.label_lists, strict=True)
            if split == Split.VAL
        ]
        in_val = set().union(*labels_of_val)
        held_out = self.vocabulary.select(Role.HELD_OUT)
        if not held_out:
            candidates = in_val.intersection(self.vocabulary.select(Role.SEEN))
            self.vocabulary = self.vocabulary.hold_out(candidates, 0.1, seed)
            _log.info(
                "The class file holds out no label; held out for selection: %s",
                ", ".join(self.vocabulary.select(Role.HELD_OUT)),
            )
        elif labels_of_val and not in_val.intersection(held_out):
            raise InputError(
                f"No image of the val split in {self.table_path} has one of the "
                f"{len(held_out)} held-out labels, so no checkpoint can be selected; add some, "
                "or hold out other labels."
            )

    def _problems(self, split: Split) -> list[str]:
        """Finds missing and unreadable files before hours of training, by their ends."""
        rows = self._rows(split)
        paths = [self.root / self.image_paths[row] for row in rows]
        missing, unreadable = find_lost(paths, split)
        problems = []
        if missing:
            path = paths[missing[0]]
            folder = "" if path.parent.is_dir() else f"; the folder {path.parent} does not exist"
            problems.append(
                f"{len(missing)} of {len(rows)} {split} images are missing, the first in "
                f"{row_name(self.table_path, rows[missing[0]])}{folder}; paths in the table are "
                f"relative to {self.root}: {self._listing(rows[lost] for lost in missing)}."
            )
        if unreadable:
            first, problem = next(iter(unreadable.items()))
            problems.append(
                f"{len(unreadable)} of {len(rows)} {split} images can't be read, the first in "
                f"{row_name(self.table_path, rows[first])} ({problem}); replace them, or take them "
                f"out of the table: {self._listing(rows[lost] for lost in unreadable)}."
            )
        return problems

    def _listing(self, rows: Iterable[int]) -> str:
        return listing([self.image_paths[row] for row in rows])


def _check_rows(images: list[str], splits: list[str], path: Path) -> None:
    """Refuses a row with a wrong split, or with the image of an earlier one."""
    if empty := [row for row, image in enumerate(images) if not image]:
        raise InputError(
            f"{row_name(path, empty[0])}: the image path is empty." + other_rows(path, empty)
        )
    if wrong := [row for row, split in enumerate(splits) if split not in list(Split)]:
        split = splits[wrong[0]]
        raise InputError(
            f"{row_name(path, wrong[0])}: the split is {split!r}; expected one of "
            f"{', '.join(Split)}." + did_you_mean(split, Split) + other_rows(path, wrong, splits)
        )
    refuse_repeated(images, lambda row: row_name(path, row), "give it one row with all its labels")


def _parse_labels(
    cells: list[str | list[str]],
    vocabulary: Vocabulary,
    separator: str,
    path: Path,
    class_file: Path,
) -> list[list[str]]:
    """Returns the names of each row's labels, sorted."""
    label_lists: list[list[str]] = []
    unknown: dict[str, int] = {}
    with_gap: list[int] = []
    for row, cell in enumerate(cells):
        texts = cell.split(separator) if isinstance(cell, str) and cell else cell
        names = [name.strip() for name in texts]
        if "" in names:
            with_gap.append(row)
        for name in names:
            if name not in vocabulary:
                unknown.setdefault(name, row)
        label_lists.append(sorted(set(names)))
    if with_gap:
        raise InputError(
            f"{row_name(path, with_gap[0])}: an empty label in {cells[with_gap[0]]!r}; expected "
            f"names joined by {separator!r}."
            + other_rows(path, with_gap, [str(cell) for cell in cells])
        )
    if unknown:
        name, row = next(iter(unknown.items()))
        raise InputError(
            f"{row_name(path, row)}: the label {name!r} is not in {class_file}; add it there with "
            f"a role, or take it out here.{did_you_mean(name, vocabulary.names)}" + others(unknown)
        )
    return label_lists
