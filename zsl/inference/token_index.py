"""The tokens of image files in a folder: made once, mapped into memory, kept up to date.

The folder holds `index.json`, what the tokens were made with, and parts `00000.safetensors` and so
on: float16 (n, T, C), or more than one array of n rows, with the n files they are of. A part is one
file, replaced in one step, so that there are always as many rows as names, whenever a process ends.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from zsl.errors import InputError, reason_of, require
from zsl.files.atomic import write_atomically
from zsl.files.folders import sole_writer
from zsl.files.tokens import as_float16, differences

_RECORD = "index.json"
_PARTS = "[0-9]*.safetensors"
_BYTES_OF_PART = 2**26
_IMAGES_OF_PART = 1024
_SECONDS_AT_RISK = 30.0
"""Of work that is lost if the process is killed on the spot."""


Rows = dict[str, Tensor]
"""Arrays by name, float16, each with a row for each of B images."""


class ImageFile(NamedTuple):
    """An image file as it was when its tokens were made."""

    path: str
    """Absolute."""
    size: int
    """In bytes; -1 where there is no such file."""
    mtime_ns: int
    """Time of the last change, in nanoseconds."""

    @classmethod
    def of(cls, path: str | Path) -> Self:
        """Looks at a file."""
        absolute = os.path.abspath(path)
        try:
            stat = os.stat(absolute)
        except OSError:
            return cls(absolute, -1, 0)
        return cls(absolute, stat.st_size, stat.st_mtime_ns)


@dataclass
class _Part:
    path: Path
    files: list[ImageFile]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads which files a part is of."""
        with _opened(path) as part:
            return cls(path, [ImageFile(*file) for file in json.loads(part.metadata()["files"])])

    def rows(self) -> Rows:
        """Maps the rows of all files into memory, for as long as they are used."""
        with _opened(self.path) as part:
            rows: Rows = {name: part.get_tensor(name) for name in part.keys()}  # noqa: SIM118
            found = json.loads(part.metadata()["files"])
        require(
            found[: len(self.files)] == [list(file) for file in self.files],
            f"{self.path} was changed by another process; open the index once more.",
        )
        return _select(rows, slice(len(self.files)))

    def write(self, rows: Rows) -> None:
        """Replaces the part in one step."""
        write_atomically(self.path, save(rows, {"files": json.dumps(self.files)}))


class StoredRows:
    """The rows of N images in files, of which those in use are mapped into memory.

    Args:
        parts: Files and which of their rows count.
    """

    def __init__(self, parts: Sequence[tuple[_Part, list[int]]]) -> None:
        self._parts = parts
        self._places = [(part, row) for part, rows in parts for row in rows]

    def __len__(self) -> int:
        """Number of images."""
        return len(self._places)

    def __getitem__(self, index: int) -> Rows:
        """Returns the rows of an image."""
        part, row = self._places[index]
        return {name: array[row].clone() for name, array in part.rows().items()}

    def split(self, num_values: int) -> Iterator[Rows]:
        """Yields the rows of all images in their order, at most so many values at once."""
        for part, rows in self._parts:
            arrays, is_whole = part.rows(), len(rows) == len(part.files)
            size = max(1, num_values // _num_values(arrays))
            for start in range(0, len(rows), size):
                chosen = slice(start, start + size)
                yield _select(arrays, chosen if is_whole else rows[chosen])


class TokenIndex:
    """A folder with the tokens of image files, each file once.

    Args:
        folder: As `create` made it.

    Attributes:
        made_with: What the tokens depend on, plain values.

    Raises:
        InputError: It is missing, damaged, or something else.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / _RECORD
        if not path.is_file():
            found = "holds no index of images" if folder.is_dir() else "does not exist"
            raise InputError(f"The folder {folder} {found}; name images to make an index of.")
        try:
            self.made_with: dict[str, Any] = json.loads(path.read_bytes())["made_with"]
        except (ValueError, LookupError, TypeError) as error:
            raise InputError(f"{path} is damaged; delete the folder and make it anew.") from error
        self.folder = folder
        self._parts: list[_Part] = []
        self._read_parts()

    def _read_parts(self) -> None:
        self._parts = [_Part.read(path) for path in sorted(self.folder.glob(_PARTS))]

    @classmethod
    def create(cls, folder: Path, made_with: dict[str, Any]) -> Self:
        """Makes a folder, unless it is there.

        Args:
            folder: It may be there and be empty.
            made_with: What the tokens depend on, plain values.

        Raises:
            InputError: It holds something else.
        """
        if not (folder / _RECORD).is_file():
            require(
                not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())),
                f"{folder} exists and is not an index of images; name a folder that does not "
                "exist.",
            )
            text = json.dumps({"made_with": made_with}, indent=2)
            write_atomically(folder / _RECORD, text.encode())
        return cls(folder)

    def check(self, wanted: dict[str, Any]) -> None:
        """Refuses something else than the tokens were made with.

        Raises:
            InputError: They differ; the message says in what.
        """
        made, now = differences(self.made_with, wanted)
        require(
            not made,
            f"The index {self.folder} was made with {made}, but the tagger has {now}; take the "
            "tagger it was made with, or name another folder.",
        )

    @property
    def files(self) -> list[ImageFile]:
        """The files, in the order of their tokens."""
        return [file for part in self._parts for file in part.files]

    def select(self, is_wanted: Callable[[ImageFile], bool]) -> tuple[list[str], StoredRows]:
        """Returns the paths and the rows of some files, in the order of the index."""
        parts = [
            (part, [row for row, file in enumerate(part.files) if is_wanted(file)])
            for part in self._parts
        ]
        return [part.files[row].path for part, rows in parts for row in rows], StoredRows(parts)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from changing the index.

        Raises:
            InputError: One is at it.
        """
        in_use = f"The index {self.folder} is being changed by another process; wait for its end."
        with sole_writer(self.folder / "index.lock", in_use):
            self._read_parts()  # Another process may have changed them since.
            yield

    def drop(self, is_dropped: Callable[[ImageFile], bool]) -> list[ImageFile]:
        """Removes the tokens of some files; returns which."""
        dropped = [file for file in self.files if is_dropped(file)]
        gone = set(dropped)
        kept: list[_Part] = []
        for part in self._parts:
            rows = [row for row, file in enumerate(part.files) if file not in gone]
            if not rows:
                part.path.unlink()
                continue
            kept.append(part)
            if len(rows) < len(part.files):
                arrays = _select(part.rows(), rows)
                kept[-1] = _Part(part.path, [part.files[row] for row in rows])
                kept[-1].write(arrays)
        self._parts = kept
        return dropped

    @contextmanager
    def adding(self) -> Iterator[Callable[[Rows, Sequence[ImageFile]], None]]:
        """Yields a function that adds float rows of files that are not there yet.

        What was added is written every half a minute, and at the end even if the block fails.
        """
        last = self._parts[-1] if self._parts else None
        if last is None or _is_full(last.rows(), len(last.files)):
            writer = _PartWriter(_next(self.folder, last.path if last else None))
        else:
            writer = _PartWriter(last.path, last.files, last.rows())

        def add(rows: Rows, files: Sequence[ImageFile]) -> None:
            nonlocal writer
            writer.add(rows, files)
            if writer.is_full:
                writer.write()
                writer = _PartWriter(_next(self.folder, writer.path))

        try:
            yield add
        finally:
            writer.write()
            self._read_parts()


class _PartWriter:
    """Collects rows until a part is full.

    Args:
        path: Of the part.
        files: What it holds already.
        rows: Of these.
    """

    def __init__(
        self, path: Path, files: Sequence[ImageFile] = (), rows: Rows | None = None
    ) -> None:
        self.path = path
        # In pairs, so that wherever Ctrl-C comes there are as many files as rows.
        self._batches = [] if rows is None else [(rows, list(files))]
        self._num_written = len(files)
        self._written_at = time.monotonic()

    @property
    def _files(self) -> list[ImageFile]:
        return [file for _, files in self._batches for file in files]

    @property
    def is_full(self) -> bool:
        return bool(self._batches) and _is_full(self._batches[0][0], len(self._files))

    def add(self, rows: Rows, files: Sequence[ImageFile]) -> None:
        # One value an image takes no room.
        kept = {
            name: array.float().cpu() if array.ndim == 1 else as_float16(array)
            for name, array in rows.items()
        }
        self._batches.append((kept, list(files)))
        if time.monotonic() - self._written_at > _SECONDS_AT_RISK:
            self.write()

    def write(self) -> None:
        """Replaces the file by all there is, if that is more."""
        files = self._files
        if len(files) > self._num_written:
            batches = [rows for rows, _ in self._batches]
            rows = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
            _Part(self.path, files).write(rows)
            self._num_written, self._written_at = len(files), time.monotonic()


def _next(folder: Path, last: Path | None) -> Path:
    """Returns the path of the part after the last one."""
    return folder / f"{0 if last is None else int(last.stem) + 1:05d}.safetensors"


def _is_full(rows: Rows, count: int) -> bool:
    """Whether a part with such rows of so many images is large enough."""
    return count >= _IMAGES_OF_PART or 2 * count * _num_values(rows) >= _BYTES_OF_PART


def _num_values(rows: Rows) -> int:
    """Number of values that an image has."""
    return sum(array[0].numel() for array in rows.values())


def _select(rows: Rows, chosen: slice | list[int]) -> Rows:
    return {name: array[chosen] for name, array in rows.items()}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, "pt") as part:
            yield part
    except (OSError, SafetensorError, ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"{path} can't be read ({reason_of(error)}); delete it, and make the index complete "
            "once more."
        ) from error
