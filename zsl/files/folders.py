"""Folders for results, of which nothing is left where there are none, and for prepared data."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from zsl.errors import InputError


@contextmanager
def folder_for_results(path: Path) -> Iterator[Path]:
    """Makes a folder with its parents; removes those that it made and are empty if the block fails.

    Raises:
        OSError: It can't be made.
    """
    absent = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield path
    except BaseException:
        for folder in absent:
            with suppress(OSError):  # It is not empty.
                folder.rmdir()
        raise


@contextmanager
def locked_folder(folder: Path, what: str) -> Iterator[None]:
    """Makes a folder, and keeps other processes from the same work in it.

    Args:
        folder: Of things made from the data, which the setting `prepared` names.
        what: The work.

    Raises:
        InputError: It can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{what}.lock")
        lock.acquire()
    except OSError as error:
        raise InputError(
            f"{folder} can't be written ({error.strerror}); set prepared to a folder that can."
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def sole_writer(lock: Path, in_use: str) -> Iterator[None]:
    """Keeps other processes from the same block; waits for none.

    Args:
        lock: The file of the lock, in a folder that is there.
        in_use: What to say where another process has it.

    Raises:
        InputError: One has it.
    """
    try:
        held = FileLock(lock, timeout=0).acquire()
    except Timeout as error:
        raise InputError(in_use) from error
    with held:
        yield
