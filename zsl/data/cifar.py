"""CIFAR-10 and CIFAR-100, which torchvision downloads."""

from __future__ import annotations

import logging
import os
import random
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from filelock import FileLock
from PIL import Image
from torch import Tensor
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.datasets.utils import download_and_extract_archive

from zsl.data.datamodule import MultiLabelDataModule, absolute
from zsl.data.dataset import MultiLabelDataset
from zsl.data.single_label import one_hot, split_classes
from zsl.data.split import Split
from zsl.data.transforms import ImageConfig
from zsl.errors import InputError, listing, reason_of, require
from zsl.files.atomic import PREFIX
from zsl.files.digests import bytes_digest
from zsl.files.safe_pickle import read_pickled_arrays
from zsl.labels import Role, Vocabulary
from zsl.preprocessing import ImageTransform

_log = logging.getLogger(__name__)


class CIFARDataset(MultiLabelDataset):
    """Images of 32 × 32 pixels in memory.

    Args:
        pixels: uint8 (N, 32, 32, 3).
        columns: The class of each, int64 (N,), as a position among the labels.
        num_labels: Number L of labels.
        transform: Turns the pixels of an image into those of the batch.
    """

    def __init__(
        self, pixels: np.ndarray, columns: np.ndarray, num_labels: int, transform: ImageTransform
    ) -> None:
        super().__init__(transform)
        self.arrays = pixels
        self.columns = columns
        self.num_labels = num_labels

    def __len__(self) -> int:
        """Number of images."""
        return len(self.arrays)

    def image(self, index: int) -> Image.Image:
        """Returns the RGB image."""
        return Image.fromarray(self.arrays[index])

    def pixels(self, index: int, min_side: int) -> Tensor:
        """Returns uint8 (3, 32, 32)."""
        return torch.from_numpy(self.arrays[index]).permute(2, 0, 1)

    def target(self, index: int) -> Tensor:
        """Returns the int8 (L,) target, with a single 1."""
        return one_hot(self.columns[index], self.num_labels)

    def images_fingerprint(self) -> str:
        """Returns a digest of the pixels."""
        return bytes_digest(array.tobytes() for array in self.arrays)


class CIFARDataModule(MultiLabelDataModule):
    """CIFAR-10 or CIFAR-100: the official test images, and training images kept for validation.

    Of a zero-shot task a fifth of the classes is unseen, so 20 of 100. There is no split of them
    that everyone uses: it is drawn by `split_seed`, and results on another are not comparable.
    Training images of unseen classes are left out, those of held-out ones are validated on only.

    Args:
        root: Folder of `cifar-10-batches-py` or `cifar-100-python`.
        classes: 10 or 100.
        download: Downloads the data into `root` where it is not there.
        zero_shot: Makes a fifth of the classes unseen, and holds some seen ones out.
        val_fraction: Fraction of the training images to validate on.
        split_seed: Seed of all these draws.
        images: The square that is made of each image.
        loading: Further arguments of `MultiLabelDataModule`.

    Raises:
        InputError: Files are missing and can't be downloaded, or are damaged.
    """

    def __init__(
        self,
        root: str,
        classes: Literal[10, 100] = 100,
        download: bool = True,
        zero_shot: bool = False,
        val_fraction: float = 0.1,
        split_seed: int = 0,
        images: ImageConfig = ImageConfig(size=96, min_crop=0.6, horizontal_flip=True),
        **loading: Any,
    ) -> None:
        root = absolute(root)
        super().__init__(images, **loading)
        require(classes in (10, 100), f"classes is {classes!r}; expected 10 or 100.")
        kind: Any = {10: CIFAR10, 100: CIFAR100}[classes]
        folder = Path(root, kind.base_folder)
        if not folder.exists() and download:
            _download(kind, folder)
        names = _read_names(folder, kind)
        pixels, columns = _read_images(folder, kind.train_list, len(names))
        test = _read_images(folder, kind.test_list, len(names))
        train, val = split_classes(columns, names, val_fraction, split_seed)
        self.vocabulary = Vocabulary(names, [Role.SEEN] * len(names))
        if zero_shot:
            self.vocabulary = _zero_shot(names, split_seed)
        # Positions of the classes among the labels, which are ordered by role.
        order = np.array(self.vocabulary.indices(names))
        self.rows = {
            split: (pixels[rows], order[columns[rows]])
            for split, rows in ((Split.TRAIN, train), (Split.VAL, val))
        }
        self.rows[Split.TEST] = test[0], order[test[1]]
        for split, last in ((Split.TRAIN, Role.SEEN), (Split.VAL, Role.HELD_OUT)):
            pixels, columns = self.rows[split]
            kept = columns < self.vocabulary.columns(Role.SEEN, last).stop
            self.rows[split] = pixels[kept], columns[kept]

    def dataset(self, split: Split, transform: ImageTransform) -> CIFARDataset:
        """Returns the images of a split."""
        return CIFARDataset(*self.rows[split], len(self.vocabulary), transform)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of names, roles, classes and pixels."""
        parts = [text.encode() for text in [*self.vocabulary.names, *self.vocabulary.roles]]
        return bytes_digest([*parts, *(a.tobytes() for split in Split for a in self.rows[split])])


def _download(kind: Any, folder: Path) -> None:
    """Downloads and unpacks the archive beside the folder, which is there once it is whole."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (
            FileLock(folder.parent / f".{kind.base_folder}.lock"),  # One of several processes does.
            tempfile.TemporaryDirectory(prefix=PREFIX, dir=folder.parent) as temporary,
        ):
            if folder.exists():
                return
            download_and_extract_archive(
                kind.url, temporary, filename=kind.filename, md5=kind.tgz_md5
            )
            os.replace(Path(temporary, kind.base_folder), folder)
    except Exception as error:  # Networks and archives fail in many ways.
        raise InputError(
            f"{kind.__name__} is not in {folder.parent} and could not be downloaded "
            f"({reason_of(error)}); get {kind.url} and unpack it there, or set root to the folder "
            f"that holds {folder.name}."
        ) from error


def _read(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    require(
        path.is_file(),
        f"{path} is missing; set root to the folder that holds {folder.name}, or take what is left "
        "of it away and set download true.",
    )
    found = read_pickled_arrays(path)
    require(isinstance(found, dict), f"{path} holds no batch of CIFAR; download it anew.")
    return dict(found)


def _read_names(folder: Path, kind: Any) -> list[str]:
    key = kind.meta["key"]
    names = _read(folder, kind.meta["filename"]).get(key)
    require(
        isinstance(names, list) and len(names) > 1,
        f"{folder / kind.meta['filename']} has no {key}; download it anew.",
    )
    return [str(name).replace("_", " ") for name in names or ()]


def _read_images(
    folder: Path, batches: list[list[str]], num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns pixels uint8 (N, 32, 32, 3) and classes int64 (N,) of the batches together."""
    pixels, columns = [], []
    for name, _ in batches:
        batch = _read(folder, name)
        data = np.asarray(batch.get("data"))
        labels = np.array(batch.get("fine_labels", batch.get("labels")))
        require(
            data.dtype == np.uint8 and data.shape == (labels.size, 3 * 32 * 32),
            f"{folder / name} has {data.dtype} data of the shape {data.shape} for {labels.size} "
            f"labels; expected uint8 ({labels.size}, 3072); download it anew.",
        )
        require(
            labels.dtype.kind in "iu" and labels.min() >= 0 and labels.max() < num_classes,
            f"{folder / name} has labels that are not from 0 to {num_classes - 1}; download it "
            "anew.",
        )
        pixels.append(data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        columns.append(labels.astype(np.int64))
    return np.concatenate(pixels), np.concatenate(columns)


def _zero_shot(names: list[str], seed: int) -> Vocabulary:
    unseen = set(random.Random(seed).sample(sorted(names), len(names) // 5))
    roles = [Role.UNSEEN if name in unseen else Role.SEEN for name in names]
    seen = [name for name in names if name not in unseen]
    vocabulary = Vocabulary(names, roles).hold_out(seen, 0.1, seed)
    _log.info(
        "Drawn by split_seed %d, for no published split is known: unseen %s; held out %s.",
        seed,
        listing(vocabulary.select(Role.UNSEEN)),
        listing(vocabulary.select(Role.HELD_OUT)),
    )
    return vocabulary
