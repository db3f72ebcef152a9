"""Images in a folder for each class, as torchvision's `ImageFolder` reads them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torchvision.datasets.folder import find_classes, make_dataset

from zsl.data.datamodule import MultiLabelDataModule, absolute
from zsl.data.lost_images import check_files
from zsl.data.single_label import SingleLabelFiles, split_classes
from zsl.data.split import Split
from zsl.data.transforms import ImageConfig
from zsl.errors import InputError, did_you_mean, listing, others, require
from zsl.files.digests import text_digest
from zsl.files.images import SUFFIXES
from zsl.labels import Role, Vocabulary
from zsl.preprocessing import ImageTransform


class ImageFolderDataModule(MultiLabelDataModule):
    """Images as `train|val|test/CLASS/FILE`; the classes are the sorted folders of `train`.

    Without a folder `test`, `val` is the test split, as it is for ImageNet, and a part of the
    training images is kept for validation; so it is without a folder `val`.

    Args:
        root: Folder that holds them.
        val_fraction: Fraction of the training images to validate on where the data has no
            validation images besides its test images.
        split_seed: Seed of that draw.
        images: The square that is made of each image.
        loading: Further arguments of `MultiLabelDataModule`.

    Raises:
        InputError: A folder is missing, or does not hold what it should.
    """

    def __init__(
        self,
        root: str,
        val_fraction: float = 0.05,
        split_seed: int = 0,
        images: ImageConfig = ImageConfig(min_crop=0.6, horizontal_flip=True),
        **loading: Any,
    ) -> None:
        root = absolute(root)
        super().__init__(images, **loading)
        self.root = Path(root)
        folders = self._folders()
        found = _class_folders(folders[Split.TRAIN])
        self.vocabulary = Vocabulary(self.names(found), [Role.SEEN] * len(found))
        self.rows = {split: _list_images(folder, found) for split, folder in folders.items()}
        _check_training(self.root, self.rows[Split.TRAIN][1], found)
        if Split.VAL not in folders:
            files, columns = self.rows[Split.TRAIN]
            train, val = split_classes(columns, found, val_fraction, split_seed)
            for split, drawn in ((Split.TRAIN, train), (Split.VAL, val)):
                self.rows[split] = files.take(drawn), columns[drawn]

    def _folders(self) -> dict[Split, Path]:
        """Returns the folder of each split; that of validation images may be lacking."""
        folders = {split: self.root / split for split in Split if (self.root / split).is_dir()}
        if Split.TEST not in folders and Split.VAL in folders:
            folders[Split.TEST] = folders.pop(Split.VAL)
        found = "does not exist"
        if self.root.is_dir():
            found = f"holds {listing(sorted(path.name for path in self.root.iterdir()))}"
        for split, name in ((Split.TRAIN, "train"), (Split.TEST, "test or val")):
            require(
                split in folders,
                f"The data folder {self.root} {found}"
                + (f", but no folder {name}" if self.root.is_dir() else "")
                + "; set root to the folder that holds train and test, or train and val, with a "
                "folder of images for each class.",
            )
        return folders

    def names(self, folders: Sequence[str]) -> list[str]:
        """Returns the names of the classes.

        Args:
            folders: Their folders, sorted.
        """
        return list(folders)

    def check_images(self, splits: Sequence[Split]) -> None:
        """Refuses files that are not images."""
        for split in splits:
            check_files(self.dataset(split, self.evaluation_transform), split)

    def dataset(self, split: Split, transform: ImageTransform) -> SingleLabelFiles:
        """Returns the images of a split."""
        return SingleLabelFiles(self.root, *self.rows[split], len(self.vocabulary), transform)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the classes, and of the files of each split; the pixels are not in it."""
        files = (f"{split}/{file}" for split in Split for file in self.rows[split][0].to_pylist())
        return text_digest([*self.vocabulary.names, *self.vocabulary.roles, *files])


def _class_folders(folder: Path) -> list[str]:
    try:
        return list(find_classes(folder)[0])
    except FileNotFoundError:
        files = sorted(path.name for path in folder.iterdir())
        found = f"{files[0]} and such" if files else "nothing"
        raise InputError(
            f"{folder} holds no folder, but {found}; expected a folder of images for each class."
        ) from None


def _list_images(folder: Path, classes: Sequence[str]) -> tuple[pa.StringArray, np.ndarray]:
    """Lists the images of a split: paths below the root, and the position of each one's class."""
    own = _class_folders(folder)
    if unknown := [name for name in own if name not in set(classes)]:
        raise InputError(
            f"{folder} has the class {unknown[0]!r}, which the training images lack; rename it, or "
            f"add it to train.{did_you_mean(unknown[0], classes)}" + others(unknown)
        )
    columns = {name: column for column, name in enumerate(classes)}
    rows = make_dataset(str(folder), columns, extensions=SUFFIXES, allow_empty=True)
    require(
        len(rows) > 0, f"The folders in {folder} hold no image ({', '.join(sorted(SUFFIXES))})."
    )
    base = len(str(folder.parent)) + 1
    files = pa.array((path[base:] for path, _ in rows), pa.string())
    return files, np.array([column for _, column in rows])


def _check_training(root: Path, columns: np.ndarray, classes: Sequence[str]) -> None:
    """Refuses classes that can't be learned."""
    counts = dict(zip(classes, np.bincount(columns, minlength=len(classes)), strict=True))
    if few := [name for name, count in counts.items() if count < 2]:
        held = f"{'one image alone' if counts[few[0]] else 'no image'}"
        raise InputError(
            f"The class folder {root / 'train' / few[0]} holds {held}; expected two or more: add "
            "some, or take the folder away." + others(few)
        )
    require(
        len(classes) > 1,
        f"{root / 'train'} has one class alone, {classes[0]!r}; expected two folders or more.",
    )
