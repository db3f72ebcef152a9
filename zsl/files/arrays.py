"""Arrays as files that are written piece by piece and mapped into memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib import format as npy


class ArrayWriter:
    """Writes a one-dimensional array as .npy, of which nobody knows the length beforehand.

    Args:
        path: The file.
        dtype: The type of the array's values.
    """

    def __init__(self, path: Path, dtype: np.typing.DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self.count = 0
        self._file = path.open("wb")
        self._write_header()

    @classmethod
    @contextmanager
    def create(cls, path: Path, dtype: np.typing.DTypeLike) -> Iterator[ArrayWriter]:
        """Yields a writer; the file is whole once the block is left."""
        writer = cls(path, dtype)
        with writer._file:
            yield writer
            writer._file.seek(0)
            # numpy leaves room in a header for a longer first axis.
            writer._write_header()

    def _write_header(self) -> None:
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.count,)}
        npy.write_array_header_1_0(self._file, header)

    def write(self, values: np.ndarray) -> None:
        """Appends values (n,)."""
        self._file.write(np.ascontiguousarray(values, self.dtype).data)
        self.count += len(values)


def map_array(path: Path) -> np.ndarray:
    """Maps a .npy file into memory, read-only.

    Raises:
        OSError: It is missing.
        ValueError: It is not whole.
    """
    try:
        # Not as numpy's memmap, which every part of it would be too.
        return np.asarray(np.load(path, mmap_mode="r"))
    except EOFError as error:
        raise ValueError(f"{path} is empty.") from error
