"""Reading every image file to its end, and writing smaller copies, on all cores."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from zsl.data.nuswide.folders import Folders
from zsl.data.nuswide.index import NUSWideIndex, State
from zsl.errors import InputError
from zsl.files.atomic import atomic_path
from zsl.files.images import ImageCheck, check_image
from zsl.files.processes import process_map

_SECONDS_BETWEEN_SAVES = 20
_FEW = 64
"""Up to this many images are read faster without starting processes."""


def check_images(
    folders: Folders, index: NUSWideIndex, side: int | None, num_workers: int
) -> pd.DataFrame:
    """Reads every image of the index that was not read before; writes the copies that are missing.

    Progress is saved on the way; after a stop at any moment the next call goes on from there.

    Args:
        folders: The folders of a copy of NUS-WIDE.
        index: Lists the images.
        side: Pixels of the smaller copies' sides; None makes none.
        num_workers: Processes.

    Returns:
        A row for each file, by its name below the image folder, with the columns of
        `ImageCheck`.
    """
    files = [index.images[row].as_py() for row in np.flatnonzero(index.state != State.MISSING)]
    with folders.locked("checks"):
        return _check_files(folders, files, side, num_workers)


def _check_files(
    folders: Folders, files: list[str], side: int | None, num_workers: int
) -> pd.DataFrame:
    checks = _read_checks(folders)
    shrunken = folders.shrunken(side) if side else None
    todo = [name for name in files if not _is_done(name, folders, checks, shrunken)]
    saved = time.monotonic()
    try:
        with process_map(num_workers if len(todo) > _FEW else 1) as do:
            sources = [folders.images / name for name in todo]
            copies = [shrunken / name if shrunken else None for name in todo]
            results = do(check_image, sources, copies, [side or 0] * len(todo))
            for name, check in tqdm(
                zip(todo, results, strict=True),
                "checking images",
                len(todo),
                unit=" images",
                disable=not todo,
            ):
                checks[name] = check
                if time.monotonic() - saved > _SECONDS_BETWEEN_SAVES:
                    _write_checks(folders, checks)
                    saved = time.monotonic()
    finally:
        if todo:
            _write_checks(folders, checks)
    return _to_frame({name: checks[name] for name in files})


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
                f"python -m zsl.prepare nuswide --root {folders.root} --resize {side}, or set "
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
