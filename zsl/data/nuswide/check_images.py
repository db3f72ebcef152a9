"""Reading every image file to its end, and writing smaller copies, on all cores."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from zsl.data.nuswide.folders import Folders
from zsl.data.nuswide.index import NUSWideIndex, State
from zsl.errors import InputError, program
from zsl.files.atomic import atomic_path
from zsl.files.images import ImageCheck, check_image
from zsl.files.processes import process_map
from zsl.process_group import ALONE, ProcessGroup

_SECONDS_BETWEEN_SAVES = 20
_FEW = 64
"""Up to this many images are read faster without starting processes."""
_TURN = 2048
"""So many images the processes of a group take in turn."""


def check_images(
    folders: Folders,
    index: NUSWideIndex | None,
    side: int | None,
    num_workers: int,
    group: ProcessGroup = ALONE,
) -> pd.DataFrame:
    """Reads every image of the index that was not read before; writes the copies that are missing.

    Progress is saved on the way; after a stop at any moment the next call goes on from there.

    Args:
        folders: The folders of a copy of NUS-WIDE.
        index: Lists the images; needed by the first process alone.
        side: Pixels of the smaller copies' sides; None makes none.
        num_workers: Processes that each process of the group starts.
        group: Processes that share the images.

    Returns:
        A row for each file, by its name below the image folder, with the columns of
        `ImageCheck`; none on other processes than the first.
    """
    shrunken = folders.shrunken(side) if side else None
    with process_map(num_workers) as do:

        def check(names: Sequence[str]) -> Iterator[tuple[str, ImageCheck]]:
            map_files = do if len(names) > _FEW else map
            sources = [folders.images / name for name in names]
            copies = [shrunken / name if shrunken else None for name in names]
            sides = [side or 0] * len(names)
            return zip(names, map_files(check_image, sources, copies, sides), strict=True)

        if index is None:
            deque(group.flat_map(check, ()), maxlen=0)
            return _to_frame({})
        files = [index.images[row].as_py() for row in np.flatnonzero(index.state != State.MISSING)]
        with folders.locked("checks"):
            checks = _read_checks(folders)
            todo = [name for name in files if not _is_done(name, folders, checks, shrunken)]
            turn = max(1, len(todo)) if group.size == 1 else _TURN
            turns = (todo[start : start + turn] for start in range(0, len(todo), turn))
            _collect(folders, checks, group.flat_map(check, turns), len(todo))
    return _to_frame({name: checks[name] for name in files})


def _collect(
    folders: Folders,
    checks: dict[str, ImageCheck],
    results: Iterator[tuple[str, ImageCheck]],
    total: int,
) -> None:
    """Adds results to the checks, and saves these now and then and in the end."""
    saved = time.monotonic()
    try:
        for name, check in tqdm(
            results, "checking images", total, unit=" images", disable=not total
        ):
            checks[name] = check
            if time.monotonic() - saved > _SECONDS_BETWEEN_SAVES:
                _write_checks(folders, checks)
                saved = time.monotonic()
    finally:
        if total:
            _write_checks(folders, checks)


def check_shrunken(folders: Folders, index: NUSWideIndex, side: int) -> Path:
    """Returns the folder of the smaller copies, after comparing the times of all files.

    Raises:
        InputError: A copy is missing, or its image has changed since.
    """
    folder = folders.shrunken(side)
    present = np.flatnonzero(index.state == State.PRESENT)
    for row in tqdm(present, "comparing images and copies", delay=3):
        name = index.images[row].as_py()
        if not _is_current(folder / name, folders.images / name):
            raise InputError(
                f"{folder} does not hold a copy of {name} as it is now; make the copies with "
                f"{program('prepare nuswide')} --root {folders.root} --resize {side}, or set "
                "resized to null."
            )
    return folder


def _is_current(copy: Path, original: Path) -> bool:
    """Whether a copy is there and has the time of change of its original."""
    try:
        return copy.stat().st_mtime_ns == original.stat().st_mtime_ns
    except OSError:
        return False


def _is_done(
    name: str, folders: Folders, checks: dict[str, ImageCheck], shrunken: Path | None
) -> bool:
    check = checks.get(name)
    original = folders.images / name
    if check is None or not original.is_file():
        return False
    stat = original.stat()
    if (check.size, check.mtime_ns) != (stat.st_size, stat.st_mtime_ns):
        return False
    return shrunken is None or bool(check.problem) or _is_current(shrunken / name, original)


def _read_checks(folders: Folders) -> dict[str, ImageCheck]:
    try:
        table = pd.read_parquet(folders.checks)
        return {
            str(row[0]): ImageCheck(*row[1:])
            for row in table[["file", *ImageCheck._fields]].itertuples(index=False)
        }
    except (OSError, ValueError, KeyError):
        return {}  # None yet, or another version's.


def _write_checks(folders: Folders, checks: dict[str, ImageCheck]) -> None:
    with atomic_path(folders.checks) as path:
        _to_frame(checks).to_parquet(path, index=False)


def _to_frame(checks: dict[str, ImageCheck]) -> pd.DataFrame:
    frame = pd.DataFrame(list(checks.values()), columns=list(ImageCheck._fields))
    frame.insert(0, "file", list(checks))
    return frame
