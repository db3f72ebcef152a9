"""Targets of millions of images over thousands of labels, in files mapped into memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from zsl.files.arrays import ArrayWriter, map_array

_IMAGES_AT_ONCE = 500_000
_TYPES = {"ends": "i8", "rest": "i1", "columns": "u2", "values": "i1"}


class TargetBlock(NamedTuple):
    """The targets of N images: of each, what most of its labels are, and the labels that differ."""

    counts: np.ndarray
    """int64 (N,): how many labels of each image differ."""
    rest: np.ndarray
    """int8 (N,): the target of all the others."""
    columns: np.ndarray
    """uint16 (counts.sum(),): which labels differ, image after image."""
    values: np.ndarray
    """int8 (counts.sum(),): their targets."""

    @classmethod
    def of(cls, targets: Iterable[np.ndarray]) -> Self:
        """Makes a block of targets int8 (L,)."""
        rest, columns, values = zip(*map(_split, targets), strict=True)
        counts = np.array([len(part) for part in columns], np.int64)
        return cls(counts, np.array(rest, np.int8), np.concatenate(columns), np.concatenate(values))


def _split(target: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    rest = -1 if (target == -1).sum() > (target == 0).sum() else 0
    columns = np.flatnonzero(target != rest)
    return rest, columns.astype(np.uint16), target[columns]


class SparseTargets:
    """The targets of N images over L labels: opened at once, and shared by processes.

    Args:
        folder: Written by `write`.
        num_labels: Number of labels L, at most 65,536.

    Raises:
        OSError: A file is missing.
        ValueError: A file is not whole.
    """

    def __init__(self, folder: Path, num_labels: int) -> None:
        self.folder = folder
        self.num_labels = num_labels
        self.ends, self.rest, self.columns, self.values = (
            map_array(folder / f"{name}.npy") for name in _TYPES
        )

    @staticmethod
    def write(folder: Path, blocks: Iterable[TargetBlock]) -> None:
        """Writes the targets to a folder that exists, with one block at a time in memory."""
        with ExitStack() as stack:
            ends, rest, columns, values = (
                stack.enter_context(ArrayWriter.create(folder / f"{name}.npy", dtype))
                for name, dtype in _TYPES.items()
            )
            for block in blocks:
                ends.write(columns.count + np.cumsum(block.counts))
                rest.write(block.rest)
                columns.write(block.columns)
                values.write(block.values)

    def __reduce__(self) -> tuple[type[SparseTargets], tuple[Path, int]]:
        """Pickles the path alone, so that each process maps the files itself."""
        return SparseTargets, (self.folder, self.num_labels)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.rest)

    def target(self, row: int, rest: int | None = None) -> Tensor:
        """Returns the int8 (L,) target of an image.

        Args:
            row: The image.
            rest: The target of the labels that are not listed, in place of what is stored.
        """
        listed = slice(self.ends[row - 1] if row else 0, self.ends[row])
        target = np.full(self.num_labels, self.rest[row] if rest is None else rest, np.int8)
        target[self.columns[listed]] = self.values[listed]
        return torch.from_numpy(target)

    def has_label(self, columns: Sequence[int] | np.ndarray) -> np.ndarray:
        """Which images have one of some labels: bool (N,)."""
        wanted = np.zeros(self.num_labels, bool)
        wanted[columns] = True
        found = np.empty(len(self), bool)
        for rows, starts, part_columns, part_values in self._parts():
            hits = np.cumsum(wanted[part_columns] & (part_values == 1))
            before = np.concatenate([[0], hits])
            found[rows] = before[starts[1:]] > before[starts[:-1]]
        return found

    def count(self, value: int) -> np.ndarray:
        """How many images have each label listed with a value: int64 (L,)."""
        counts = np.zeros(self.num_labels, np.int64)
        for _, _, columns, values in self._parts():
            counts += np.bincount(columns[values == value], minlength=self.num_labels)
        return counts

    def _parts(self) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray]]:
        """Yields some rows at a time: where each begins, and ends, in their columns and values."""
        for first in range(0, len(self), _IMAGES_AT_ONCE):
            rows = slice(first, first + _IMAGES_AT_ONCE)
            starts = np.concatenate(
                [self.ends[first - 1 : first] if first else [0], self.ends[rows]]
            )
            listed = slice(starts[0], starts[-1])
            yield rows, starts - starts[0], self.columns[listed], self.values[listed]
