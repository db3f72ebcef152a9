"""The compact index: images, sparse labels and names, written once and mapped into memory."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from filelock import FileLock
from pyarrow import ipc
from scipy.sparse import csr_matrix
from torch import Tensor

from zsl.data.nuswide.layouts import find_layout
from zsl.data.nuswide.listing import Layout, Listing
from zsl.data.nuswide.matching import match
from zsl.errors import InputError
from zsl.files import atomic_path, write_atomically

_log = logging.getLogger(__name__)

_VERSION = 1
_SUFFIXES = {".jpg", ".jpeg", ".png"}
_EXPECTED = {"training images": 161_789, "test images": 107_859, "labels": 1006}


class State(IntEnum):
    """What became of a listed image."""

    PRESENT = 0
    MISSING = 1
    UNREADABLE = 2


@dataclass(frozen=True)
class Folders:
    """Where things are.

    Args:
        root: The unpacked NUS-WIDE.
        images: The image files, in folders of any depth.
        prepared: What `zsl.prepare` writes.
    """

    root: Path
    images: Path
    prepared: Path

    @classmethod
    def find(cls, root: Path, images: str | None, prepared: str | None) -> Folders:
        """Settles what the user left open.

        Raises:
            InputError: The folder of the images does not exist.
        """
        if images is None:
            candidates = [root / "Flickr", root / "images", root]
            chosen = next(path for path in candidates if path.is_dir() or path == root)
        else:
            chosen = root / images
            if not chosen.is_dir():
                raise InputError(
                    f"The image folder {chosen} does not exist; set data.images to the folder "
                    f"below {root} that holds the images."
                )
        return cls(root, chosen, root / (prepared or "zsl"))

    @property
    def checks(self) -> Path:
        """What was found in each image file."""
        return self.prepared / "checks.parquet"

    @property
    def lost(self) -> Path:
        """The names of the listed images that can't be used."""
        return self.prepared / "missing.txt"

    def shrunken(self, side: int) -> Path:
        """The copies of the images that are `side` pixels wide and high."""
        return self.prepared / f"images-{side}"


class NUSWideIndex:
    """An index on disk; opening it reads next to nothing, and loader processes share it.

    Args:
        path: An Arrow file, written by `open_index`.

    Attributes:
        names: The L labels, sorted.
        unseen: Those that are unseen in the published split.
        images: The N images: files below the image folder, or the listed name of a missing one.
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
        """Other processes map the file themselves, rather than receive a copy."""
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
        """Of which labels nothing is known: bool (N, L)."""
        return self._matrix(*self._unknown)

    def _matrix(self, offsets: np.ndarray, columns: np.ndarray) -> csr_matrix:
        # Copies: scipy writes into what it is given.
        parts = (np.ones(len(columns), dtype=bool), columns.astype(np.int32), offsets.copy())
        return csr_matrix(parts, shape=(len(self), len(self.names)))


def _list_column(column: Any) -> tuple[np.ndarray, np.ndarray]:
    return column.offsets.to_numpy(), column.values.to_numpy()


def open_index(folders: Folders, table: str | None) -> NUSWideIndex:
    """Opens the index of a copy of NUS-WIDE; makes it where it is missing or out of date.

    Args:
        folders: Where things are.
        table: A CSV to take the labels from instead of the official files.

    Raises:
        InputError: A file is missing or wrong, or the index can't be written.
    """
    layout = find_layout(folders.root, table)
    if layout.problem:
        raise InputError(layout.problem)
    path = index_path(folders, table)
    index = _open_current(path, layout, folders)
    if index is not None:
        return index
    try:
        folders.prepared.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            # Another process may have made it meanwhile.
            index = _open_current(path, layout, folders)
            if index is None:
                _log.info("Indexing %s (%s) ...", folders.root, layout.name)
                _build(path, layout, folders)
                index = NUSWideIndex(path)
    except PermissionError as error:
        raise InputError(
            f"{folders.prepared} can't be written; set data.prepared to a folder that can."
        ) from error
    return index


def index_path(folders: Folders, table: str | None) -> Path:
    """The index's file: one for each choice of labels and images."""
    settings = json.dumps([os.path.relpath(folders.images, folders.root), table])
    return folders.prepared / f"index-{hashlib.sha256(settings.encode()).hexdigest()[:8]}.arrow"


def _open_current(path: Path, layout: Layout, folders: Folders) -> NUSWideIndex | None:
    """Opens the index if nothing that it was made from has changed."""
    if not path.is_file():
        return None
    try:
        index = NUSWideIndex(path)
    except (pa.ArrowInvalid, OSError, KeyError, TypeError, ValueError):
        return None  # Damaged, or another version's.
    if index.info.get("version") != _VERSION:
        return None
    image_folders = {name: _mtime(folders.images / name) for name in index.info["image_folders"]}
    current = {"sources": _stamps(layout, folders), "image_folders": image_folders}
    return index if all(index.info[name] == value for name, value in current.items()) else None


def _stamps(layout: Layout, folders: Folders) -> dict[str, list[int] | None]:
    """Size and time of change of each file that the index depends on, None where it is not."""
    stamps: dict[str, list[int] | None] = {}
    for path in [*layout.sources, folders.checks]:
        stat = path.stat() if path.is_file() else None
        stamps[os.path.relpath(path, folders.root)] = stat and [stat.st_size, stat.st_mtime_ns]
    return stamps


def _mtime(folder: Path) -> int | None:
    return folder.stat().st_mtime_ns if folder.is_dir() else None


def scan(folders: Folders) -> tuple[list[str], dict[str, int | None]]:
    """Lists the image files, and when each of their folders changed last."""
    files: list[str] = []
    image_folders: dict[str, int | None] = {}
    for name, subfolders, names in os.walk(folders.images):
        folder = Path(name)
        relative = folder.relative_to(folders.images)
        image_folders[str(relative)] = _mtime(folder)
        subfolders[:] = sorted(
            sub for sub in subfolders if sub[0] != "." and folder / sub != folders.prepared
        )
        files += [
            (relative / file).as_posix()
            for file in sorted(names)
            if os.path.splitext(file)[1].lower() in _SUFFIXES and file[0] != "."
        ]
    return files, image_folders


def _build(path: Path, layout: Layout, folders: Folders) -> None:
    sources = _stamps(layout, folders)
    listing = layout.read()
    files, image_folders = scan(folders)
    prefix = f"{os.path.relpath(folders.images, folders.root)}/"
    found = match([name.removeprefix(prefix) for name in listing.images], files)
    images = [
        files[position] if position >= 0 else name
        for name, position in zip(listing.images, found.position, strict=True)
    ]
    state = np.where(found.position >= 0, State.PRESENT, State.MISSING).astype(np.int8)
    unreadable = _unreadable(folders)
    state[[row for row, name in enumerate(images) if name in unreadable]] = State.UNREADABLE
    info = {
        "version": _VERSION,
        "layout": layout.name,
        "names": listing.names,
        "unseen": listing.unseen,
        "notes": listing.notes + _deviations(listing, found.num_ambiguous),
        "num_unlisted_files": len(files) - int((found.position >= 0).sum()),
        "fingerprint": _fingerprint(listing, images, state),
        "files": digest(images[row] for row in np.flatnonzero(state == State.PRESENT)),
        "sources": sources,
        "image_folders": image_folders,
    }
    table = pa.table(
        {
            "image": images,
            "is_test": pa.array(listing.is_test.astype(np.int8)),
            "state": pa.array(state),
            "present": _to_list_column(listing.targets, 1),
            "unknown": _to_list_column(listing.targets, -1),
        },
        metadata={"zsl": json.dumps(info)},
    )
    with atomic_path(path) as temporary, ipc.new_file(str(temporary), table.schema) as writer:
        writer.write_table(table)
    lost = [f"{images[row]}\t{State(state[row]).name.lower()}" for row in np.flatnonzero(state)]
    lost += [f"{name}\tin no official list" for name in listing.unmatched]
    write_atomically(folders.lost, "".join(f"{line}\n" for line in lost).encode())


def _unreadable(folders: Folders) -> set[str]:
    """Files that `zsl.prepare` could not read and that are still the same."""
    if not folders.checks.is_file():
        return set()
    checks = pd.read_parquet(folders.checks)
    names = set()
    for check in checks[checks["problem"] != ""].itertuples():
        path = folders.images / str(check.file)
        if path.is_file() and path.stat().st_mtime_ns == check.mtime_ns:
            names.add(str(check.file))
    return names


def _deviations(listing: Listing, num_ambiguous: int) -> list[str]:
    num_test = int(listing.is_test.sum())
    found = (len(listing.images) - num_test, num_test, len(listing.names))
    notes = [
        f"{number:,} {what} instead of NUS-WIDE's {expected:,}."
        for number, (what, expected) in zip(found, _EXPECTED.items(), strict=True)
        if number != expected
    ]
    if num_ambiguous:
        notes.append(
            f"{num_ambiguous:,} listed images count as missing, since several files or lines have "
            "their Flickr id or file name."
        )
    return notes


def digest(names: Iterable[str]) -> str:
    """A digest of file names in their order."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def _fingerprint(listing: Listing, images: list[str], state: np.ndarray) -> str:
    targets = listing.targets.sorted_indices()
    own = hashlib.sha256(json.dumps([listing.names, images]).encode())
    for array in (listing.is_test, state, targets.indptr, targets.indices, targets.data):
        own.update(np.ascontiguousarray(array, dtype=np.int32).tobytes())
    return own.hexdigest()[:16]


def _to_list_column(targets: csr_matrix, value: int) -> pa.ListArray:
    """The columns of each row in which the value stands."""
    chosen = targets.data == value
    offsets = np.concatenate([[0], np.cumsum(chosen)])[targets.indptr]
    columns = targets.indices[chosen].astype(np.int16)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(columns))
