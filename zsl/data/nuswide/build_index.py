"""Making the index of a copy of NUS-WIDE, and again when something it was made from changes."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import ipc
from scipy.sparse import csr_matrix

from zsl.data.nuswide.find_layout import find_layout
from zsl.data.nuswide.folders import Folders
from zsl.data.nuswide.image_names import match
from zsl.data.nuswide.index import NUSWideIndex, State
from zsl.data.nuswide.layout import Layout, Listing
from zsl.errors import InputError
from zsl.files.atomic import atomic_path, write_atomically
from zsl.files.digests import bytes_digest

_log = logging.getLogger(__name__)

_VERSION = 1
_SUFFIXES = {".jpg", ".jpeg", ".png"}
_EXPECTED = {
    "training images": 161_789,
    "test images": 107_859,
    "seen labels": 925,
    "unseen labels": 81,
}


def open_index(folders: Folders, table: str | None) -> NUSWideIndex:
    """Opens the index of a copy of NUS-WIDE; makes it where it is missing or out of date.

    Args:
        folders: The folders of a copy of NUS-WIDE.
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
    with folders.locked("index"):
        # Another process may have made it meanwhile.
        index = _open_current(path, layout, folders)
        if index is None:
            _log.info("Indexing %s (%s) ...", folders.root, layout.name)
            _build(path, layout, folders)
            index = NUSWideIndex(path)
    return index


def index_path(folders: Folders, table: str | None) -> Path:
    """Returns the index's file: one for each choice of labels and images."""
    settings = json.dumps([os.path.relpath(folders.images, folders.root), table])
    return folders.prepared / f"index-{bytes_digest([settings.encode()])[:8]}.arrow"


def lost_path(index: Path) -> Path:
    """Returns the file beside an index that names the listed images that can't be used."""
    return index.with_name(index.name.replace("index", "missing")).with_suffix(".txt")


def _open_current(path: Path, layout: Layout, folders: Folders) -> NUSWideIndex | None:
    """Opens the index if nothing that it was made from has changed."""
    if not (path.is_file() and lost_path(path).is_file()):
        return None
    try:
        index = NUSWideIndex(path)
    except (pa.ArrowInvalid, OSError, KeyError, TypeError, ValueError):
        return None  # Damaged, or another version's.
    if index.info.get("version") != _VERSION:
        return None
    image_folders = {name: _mtime(folders.images / name) for name in index.info["image_folders"]}
    current = {
        "sources": _stamps(layout, folders),
        "image_folders": image_folders,
        "unreadable": _unreadable(folders),
    }
    return index if all(index.info[name] == value for name, value in current.items()) else None


def _stamps(layout: Layout, folders: Folders) -> dict[str, list[int] | None]:
    """Returns size and time of change of each label file, None where it is missing."""
    stamps: dict[str, list[int] | None] = {}
    for path in layout.sources:
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
            if os.path.splitext(file)[1].lower() in _SUFFIXES
            and file[0] != "."
            and (folder / file).is_file()  # Not a broken link.
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
    state[np.isin(images, unreadable)] = State.UNREADABLE
    info = {
        "version": _VERSION,
        "layout": layout.name,
        "names": listing.names,
        "unseen": listing.unseen,
        "unseen_without_column": listing.unseen_without_column,
        "notes": listing.notes + _deviations(listing, found.num_ambiguous),
        "num_unlisted_files": len(files) - int((found.position >= 0).sum()),
        "fingerprint": _fingerprint(listing, images, state),
        "sources": sources,
        "image_folders": image_folders,
        "unreadable": unreadable,
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
    lost = [f"{images[row]}\t{State(state[row]).name.lower()}" for row in np.flatnonzero(state)]
    lost += [f"{name}\tin no official list" for name in listing.unmatched]
    write_atomically(lost_path(path), "".join(f"{line}\n" for line in lost).encode())
    with atomic_path(path) as temporary, ipc.new_file(str(temporary), table.schema) as writer:
        writer.write_table(table)


def _unreadable(folders: Folders) -> list[str]:
    """Lists the files that `zsl.prepare` could not read and that have not changed since."""
    if not folders.checks.is_file():
        return []
    columns = ["file", "mtime_ns"]
    checks = pd.read_parquet(folders.checks, columns=columns, filters=[("problem", "!=", "")])
    return [
        name
        for name, mtime_ns in zip(checks["file"], checks["mtime_ns"], strict=True)
        if (path := folders.images / name).is_file() and path.stat().st_mtime_ns == mtime_ns
    ]


def _deviations(listing: Listing, num_ambiguous: int) -> list[str]:
    num_test = int(listing.is_test.sum())
    num_unseen = len(listing.unseen)
    found = (len(listing.images) - num_test, num_test, len(listing.names) - num_unseen, num_unseen)
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


def _fingerprint(listing: Listing, images: list[str], state: np.ndarray) -> str:
    targets = listing.targets.sorted_indices()
    arrays = (listing.is_test, state, targets.indptr, targets.indices, targets.data)
    parts = [np.ascontiguousarray(array, dtype=np.int32).tobytes() for array in arrays]
    return bytes_digest([json.dumps([listing.names, images]).encode(), *parts])


def _to_list_column(targets: csr_matrix, value: int) -> pa.ListArray:
    """Returns for each row the columns that have the value."""
    chosen = targets.data == value
    offsets = np.concatenate([[0], np.cumsum(chosen)])[targets.indptr]
    columns = targets.indices[chosen].astype(np.int16)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(columns))
