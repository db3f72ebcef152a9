"""Images with targets: one split of a dataset."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, default_collate
from torchvision.transforms.v2.functional import pil_to_tensor
from tqdm import tqdm

from zsl.data.seeds import Draw, generators_kept, seed_generators, split_draws
from zsl.errors import InputError
from zsl.files.digests import text_digest
from zsl.files.images import read_image, read_pixels, unreadable
from zsl.preprocessing import ImageTransform


class Sample(TypedDict):
    """One image."""

    index: int
    """Position in the split."""
    image: NotRequired[Tensor]
    """uint8 (3, H, W)."""
    tokens: NotRequired[Tensor]
    """float16 (T, C), in place of the image where a feature store serves."""
    target: Tensor
    """int8 (L,) over the vocabulary: 1 present, 0 absent, -1 unknown."""


class Batch(TypedDict):
    """B samples."""

    index: Tensor
    """int64 (B,)."""
    image: NotRequired[Tensor]
    """uint8 (B, 3, H, W)."""
    tokens: NotRequired[Tensor]
    """float16 (B, T, C), in place of the images where a feature store serves."""
    target: Tensor
    """int8 (B, L)."""


class MultiLabelDataset(Dataset[Sample], ABC):
    """Images and targets of one split."""

    def __init__(self, transform: ImageTransform) -> None:
        self.transform = transform

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def image(self, index: int) -> Image.Image:
        """Returns the RGB image as it is, for people to look at."""

    @abstractmethod
    def target(self, index: int) -> Tensor:
        """Returns the int8 (L,) target."""

    @abstractmethod
    def images_fingerprint(self) -> str:
        """Returns a digest of which images these are, in which order; labels are not in it."""

    def has_label(self, columns: slice) -> np.ndarray:
        """Which images have one of some labels: bool (N,), by columns of the targets.

        This looks at every target; a dataset with an index answers at once.
        """
        rows = tqdm(range(len(self)), "looking for images without a label", delay=3)
        found = (bool((self.target(row)[columns] == 1).any()) for row in rows)
        return np.fromiter(found, bool, len(self))

    def encoded(self, index: int) -> tuple[bytes, str]:
        """Returns an image as the content of a file, and the file's suffix."""
        buffer = BytesIO()
        self.image(index).save(buffer, "PNG")
        return buffer.getvalue(), ".png"

    def pixels(self, index: int, min_side: int) -> Tensor:
        """Returns uint8 (3, H, W); sides above `min_side` may be reduced to no less than that."""
        return pil_to_tensor(self.image(index))

    def __getitem__(self, draw: int | Draw) -> Sample:
        """Returns the transformed image, or its tokens, with its target."""
        batch: Any = self.__getitems__([draw])
        sample: Any = {name: values[0] for name, values in batch.items()}
        return sample | {"index": int(sample["index"])}

    def __getitems__(self, draws: Sequence[int | Draw]) -> Batch:
        """Returns a batch: what a loader asks for, with no tensor per image to collate.

        Args:
            draws: Positions of the images; with a seed, an image is varied as the seed says, and
                the generators that others draw from are left as they were.
        """
        indices, seeds = split_draws(draws)
        varies = seeds != [None] * len(seeds)
        with generators_kept() if varies else nullcontext():
            images = [self._varied(*draw) for draw in zip(indices, seeds, strict=True)]
        return Batch(
            index=torch.tensor(indices),
            # Collated straight into shared memory; channels last, as the backbones want them.
            image=default_collate(images).permute(0, 3, 1, 2),
            target=torch.stack([self.target(index) for index in indices]),
        )

    def _varied(self, index: int, seed: int | None) -> Tensor:
        """Returns the transformed image (H, W, 3)."""
        pixels = self.pixels(index, self.transform.min_side)
        if seed is not None:
            seed_generators(seed)
        return self.transform(pixels).permute(1, 2, 0)


class ImageFileDataset(MultiLabelDataset):
    """Images that are files."""

    @abstractmethod
    def path(self, index: int) -> Path:
        """The file of an image."""

    def image(self, index: int) -> Image.Image:
        """Reads the image file; raises an `InputError` where it can't be read."""
        return read_image(self.path(index))

    def encoded(self, index: int) -> tuple[bytes, str]:
        """Returns the content of the image file, as it is, and its suffix."""
        path = self.path(index)
        try:
            return path.read_bytes(), path.suffix.lower()
        except OSError as error:
            raise unreadable(path, error) from error

    def images_fingerprint(self) -> str:
        """Returns a digest of the files' names and sizes; raises an `InputError` if one is gone."""
        return text_digest(map(self._name_and_size, range(len(self))))

    def _name_and_size(self, index: int) -> str:
        path = self.path(index)
        try:
            return f"{path.name} {path.stat().st_size}"
        except OSError as error:
            raise InputError(f"The image {path} is missing or unreadable: {error}") from error

    def pixels(self, index: int, min_side: int) -> Tensor:
        """Reads the image file at reduced size where its format allows it."""
        return torch.from_numpy(read_pixels(self.path(index), min_side)).permute(2, 0, 1)
