"""Writing files so that a half-written one never looks whole; atomicwrites is archived."""

import errno
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from zsl.files.folders import folder_for_results
from zsl.files.processes import is_running, process_space

PREFIX = ".partial-"
"""Begins the names of temporary files and folders."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says of a full disk, quota or limit."""
_WEEK = 7 * 24 * 3600.0


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path of the same suffix; it becomes `path` when the block succeeds.

    It lies in the same folder, since only within a file system a file is moved in one step, and is
    on the disk before it is moved, so that also a power cut leaves the old file or the new one.

    Raises:
        OSError: It can't be written; its `filename` is `path`.
    """
    with _naming(path), folder_for_results(path.parent):
        _remove_leftovers(path.parent.absolute())
        descriptor, name = tempfile.mkstemp(path.suffix, _own_prefix(), path.parent)
        os.close(descriptor)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o644)
            _move([temporary], [path])
        finally:
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Writes a file whole or not at all.

    Writers in C++ that are given a path say in their own way that the disk is full, or end the
    process; what they write into memory is written here.

    Raises:
        OSError: It can't be written; its `filename` is `path`.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yields a temporary folder; it is there in the place of `folder` when the block succeeds.

    Raises:
        OSError: It can't be written; its `filename` is `folder`.
    """
    with _naming(folder), _temporary_folder(folder.parent) as parent:
        temporary = parent / "new"
        temporary.mkdir()
        yield temporary
        for path in temporary.iterdir():
            sync_to_disk(path)
        if folder.exists():
            folder.rename(parent / "old")
        _move([temporary], [folder])


@contextmanager
def atomic_files(folder: Path, record: str, earlier: Collection[str] = ()) -> Iterator[Path]:
    """Yields a temporary folder whose files replace those of `folder` when the block succeeds.

    Args:
        folder: It may be there, and hold other files.
        record: Name of the file without which the others count as nothing: it goes first and comes
            last.
        earlier: Names of files that are removed, where they are not replaced.

    Raises:
        OSError: It can't be written; its `filename` is `folder`.
    """
    with _naming(folder), _temporary_folder(folder) as temporary:
        yield temporary
        paths = sorted(temporary.iterdir(), key=lambda path: path.name == record)
        for name in (record, *earlier):
            (folder / name).unlink(missing_ok=True)
        _move(paths, [folder / path.name for path in paths])


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Names a path in errors of writing it, which name a temporary file or, if it is full, none."""
    try:
        yield
    except OSError as error:
        is_full = error.errno in FULL and error.filename is None
        if not is_full and PREFIX not in str(error.filename):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def _temporary_folder(parent: Path) -> Iterator[Path]:
    """Yields a new folder in a folder, which is made if needed; it is removed in the end."""
    with folder_for_results(parent):
        _remove_leftovers(parent.absolute())
        folder = Path(tempfile.mkdtemp(prefix=_own_prefix(), dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _move(sources: list[Path], targets: list[Path]) -> None:
    """Moves files or folders within a file system, in this order, once all are on the disk."""
    for source in sources:
        sync_to_disk(source)
    for source, target in zip(sources, targets, strict=True):
        source.replace(target)
        sync_to_disk(target.parent)


def sync_to_disk(path: Path) -> None:
    """Waits until a file, or the list of a folder's files, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _own_prefix() -> str:
    """Begins the names of this process's temporary files: they tell whether it still writes."""
    return f"{_machine_prefix()}{os.getpid()}-"


def _machine_prefix() -> str:
    """Begins those of all processes among which this one's number is unique."""
    space = re.sub(r"\W+", "-", process_space() or platform.node())
    return f"{PREFIX}{space}-"


@cache  # A folder may hold 100,000 files: once is enough.
def _remove_leftovers(folder: Path) -> None:
    """Removes temporary files of killed processes; of other machines, or boots, a week old ones."""
    own = _machine_prefix()
    for path in folder.glob(f"{PREFIX}*"):
        number = path.name.removeprefix(own).partition("-")[0]
        with suppress(OSError):  # Another process may remove it at the same time.
            is_own = path.name.startswith(own) and number.isdigit()
            is_old = time.time() - path.stat().st_ctime > _WEEK
            if not is_running(int(number)) if is_own else is_old:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
