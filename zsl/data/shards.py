"""Shards: all images of a data set in a few tar files, read at offsets.

The files are those of WebDataset, one image and one JSON of its labels after the other, and other
programs can stream them. Here they are read as files are, each image by itself: only so is the
order of an epoch the same whatever the number of processes, and a stopped epoch taken up where it
was. A stream is shuffled in a buffer, whose content no checkpoint keeps, and is split among
processes by whole shards, so that these see unequal numbers of images.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zsl.data.datamodule import MultiLabelDataModule, absolute
from zsl.data.dataset import MultiLabelDataset
from zsl.data.sparse_targets import SparseTargets
from zsl.data.split import Split
from zsl.data.transforms import ImageConfig
from zsl.errors import InputError, others, program, require
from zsl.files.arrays import map_array
from zsl.files.images import decode_image, decode_pixels
from zsl.labels import Vocabulary
from zsl.preprocessing import ImageTransform

RECORD = "shards.json"
"""Describes a folder of shards; it is written last."""


def shard_name(split: str, number: int) -> str:
    """The name of a shard's file."""
    return f"{split}-{number:06d}.tar"


class ShardIndex:
    """Where the images of a split are in its shards, and their targets.

    Args:
        folder: The folder of the shards.
        split: The split.
        num_labels: Number of labels L.

    Raises:
        InputError: A file of it is missing or not whole.
    """

    def __init__(self, folder: Path, split: Split, num_labels: int) -> None:
        self.folder = folder
        self.split = split
        try:
            self.offsets = map_array(folder / split / "offsets.npy")
            self.sizes = map_array(folder / split / "sizes.npy")
            self.targets = SparseTargets(folder / split, num_labels)
        except (OSError, ValueError) as error:
            raise InputError(
                f"The index {folder / split} is not whole ({error}); copy the folder of shards "
                f"anew, or write it again with {program('prepare shards')}."
            ) from error

    def __reduce__(self) -> tuple[type[ShardIndex], tuple[Path, Split, int]]:
        """Pickles the path alone, so that each process maps the files itself."""
        return ShardIndex, (self.folder, self.split, self.targets.num_labels)


class ShardDataset(MultiLabelDataset):
    """The images of a split, in shards.

    Args:
        index: Where they are.
        images_per_shard: How many images a shard has; the last may have fewer.
        fingerprint: A digest of the images that the shards were made of.
        transform: Turns the pixels of an image into those of the batch.
    """

    def __init__(
        self, index: ShardIndex, images_per_shard: int, fingerprint: str, transform: ImageTransform
    ) -> None:
        super().__init__(transform)
        self.index = index
        self.images_per_shard = images_per_shard
        self.fingerprint = fingerprint

    def __len__(self) -> int:
        """Number of images."""
        return len(self.index.offsets)

    def encoded(self, index: int) -> tuple[bytes, str]:
        """Returns the content of the image file; its suffix is not known here.

        Raises:
            InputError: The shard is missing or cut short.
        """
        path = self._shard(index)
        size = int(self.index.sizes[index])
        try:
            with path.open("rb") as file:
                file.seek(int(self.index.offsets[index]))
                data = file.read(size)
        except OSError as error:
            raise InputError(f"The shard {path} can't be read: {error.strerror}.") from error
        if len(data) < size:
            raise InputError(f"The shard {path} is cut short; copy it anew.")
        return data, ""

    def _shard(self, index: int) -> Path:
        name = shard_name(self.index.split, index // self.images_per_shard)
        return self.index.folder / name

    def image(self, index: int) -> Image.Image:
        """Returns the RGB image as it is, for people to look at."""
        return decode_image(self.encoded(index)[0], self._shard(index) / f"{index:09d}")

    def pixels(self, index: int, min_side: int) -> Tensor:
        """Returns uint8 (3, H, W), as of an image file."""
        data, name = self.encoded(index)[0], self._shard(index) / f"{index:09d}"
        return torch.from_numpy(decode_pixels(data, name, min_side)).permute(2, 0, 1)

    def target(self, index: int) -> Tensor:
        """Returns the int8 (L,) target."""
        return self.index.targets.target(index)

    def has_label(self, columns: slice) -> np.ndarray:
        """Which images have one of some labels: bool (N,)."""
        return self.index.targets.has_label(range(self.index.targets.num_labels)[columns])

    def images_fingerprint(self) -> str:
        """Returns the digest of the images that the shards were made of."""
        return self.fingerprint


class ShardsDataModule(MultiLabelDataModule):
    """Any data set, from the shards that `python -m zsl.prepare shards` wrote of it.

    Images, targets, splits, vocabulary and fingerprint are those of its data module, and so are
    the batches and their order: a run that was begun with the files can go on with the shards.

    Args:
        root: The folder of the shards.
        images: The square that is made of each image.
        loading: Further arguments of `MultiLabelDataModule`.

    Raises:
        InputError: The folder is missing, or is not a whole folder of shards.
    """

    def __init__(self, root: str, images: ImageConfig = ImageConfig(), **loading: Any) -> None:
        root = absolute(root)
        super().__init__(images, **loading)
        self.root = Path(root)
        self.record = read_record(self.root)
        self.vocabulary = Vocabulary.ordered(self.record["names"], self.record["roles"])

    def check_images(self, splits: Sequence[Split]) -> None:
        """Refuses shards that are missing or cut short, by their sizes."""
        for split in splits:
            check_shards(self.root, split, self.record["splits"][split]["shards"])

    def dataset(self, split: Split, transform: ImageTransform) -> ShardDataset:
        """Returns the images of a split."""
        index = ShardIndex(self.root, split, len(self.vocabulary))
        per_shard, found = self.record["images_per_shard"], self.record["splits"][split]
        require(
            len(index.offsets) == found["images"] == len(index.targets),
            f"The index {self.root / split} has {len(index.offsets):,} images; expected "
            f"{found['images']:,}: copy the folder of shards anew.",
        )
        return ShardDataset(index, per_shard, found["fingerprint"], transform)

    def omitted(self, split: Split) -> int:
        """Listed images of a split that were left out when the shards were written."""
        return self.record["splits"][split]["omitted"]

    @cached_property
    def fingerprint(self) -> str:
        """The digest of the data that the shards were made of."""
        return self.record["fingerprint"]


def read_record(folder: Path) -> dict[str, Any]:
    """Reads what a folder of shards holds.

    Raises:
        InputError: It is missing, or not a whole folder of shards.
    """
    path = folder / RECORD
    if not path.is_file():
        found = "does not exist"
        if folder.is_dir():
            begun = any(folder.glob("*.tar"))
            found = "is not finished" if begun else "holds no shards"
        raise InputError(
            f"The folder {folder} {found}; write it with {program('prepare shards')} --config "
            f"NAME.yaml --output {folder}, which goes on where it was stopped."
        )
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged; copy the folder of shards anew.") from error


def check_shards(folder: Path, split: str, sizes: list[int]) -> None:
    """Refuses shards that are missing, or have another size than when they were written.

    Args:
        folder: The folder of the shards.
        split: The split.
        sizes: Bytes of each of its shards.

    Raises:
        InputError: There are such shards; the message says how many.
    """
    wrong: dict[str, str] = {}
    for number, size in enumerate(sizes):
        path = folder / shard_name(split, number)
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            state = "is missing" if found is None else f"has {found:,} of {size:,} bytes"
            wrong[path.name] = state
    if wrong:
        name, state = next(iter(wrong.items()))
        raise InputError(
            f"The shard {folder / name} {state}; copy it anew, or write it again with "
            f"{program('prepare shards')}.{others(wrong)}"
        )
