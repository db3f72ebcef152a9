"""The compact index: images, sparse labels and names in one file, mapped into memory."""

from __future__ import annotations

import json
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pyarrow import ipc
from scipy.sparse import csr_matrix
from torch import Tensor


class State(IntEnum):
    """Whether a listed image is usable, and if not, why."""

    PRESENT = 0
    MISSING = 1
    UNREADABLE = 2


class NUSWideIndex:
    """An index on disk, mapped into memory: opened at once, and shared by loader processes.

    Args:
        path: An Arrow file, written by `open_index`.

    Attributes:
        names: The L labels, sorted.
        unseen: The labels that are unseen in the published split.
        images: The N images: files below the image folder; of a missing one, the listed name.
        is_test: int8 (N,).
        state: int8 (N,), a `State` each.
        info: Layout, notes, fingerprint.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        table = ipc.open_file(pa.memory_map(str(path))).read_all()
        self.info: dict[str, Any] = json.loads(table.schema.metadata[b"zsl"])
        self.names: list[str] = self.info["names"]
        self.unseen: list[str] = self.info["unseen"]
        self.images = table["image"].chunk(0)
        self.is_test = table["is_test"].chunk(0).to_numpy()
        self.state = table["state"].chunk(0).to_numpy()
        self._present = _list_column(table["present"].chunk(0))
        self._unknown = _list_column(table["unknown"].chunk(0))

    def __reduce__(self) -> tuple[type[NUSWideIndex], tuple[Path]]:
        """Pickles the path alone, so that each process maps the file itself."""
        return NUSWideIndex, (self.path,)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def target(self, row: int) -> Tensor:
        """Returns the int8 (L,) target of an image."""
        target = torch.zeros(len(self.names), dtype=torch.int8)
        for (offsets, columns), value in ((self._present, 1), (self._unknown, -1)):
            target[columns[offsets[row] : offsets[row + 1]].astype(np.int64)] = value
        return target

    @cached_property
    def present(self) -> csr_matrix:
        """Which labels are present: bool (N, L)."""
        return self._matrix(*self._present)

    @cached_property
    def unknown(self) -> csr_matrix:
        """Which labels are unknown: bool (N, L)."""
        return self._matrix(*self._unknown)

    def _matrix(self, offsets: np.ndarray, columns: np.ndarray) -> csr_matrix:
        # Copies: scipy writes into what it is given.
        parts = (np.ones(len(columns), dtype=bool), columns.astype(np.int32), offsets.copy())
        return csr_matrix(parts, shape=(len(self), len(self.names)))


def _list_column(column: Any) -> tuple[np.ndarray, np.ndarray]:
    return column.offsets.to_numpy(), column.values.to_numpy()
