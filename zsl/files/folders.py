"""Folders for results, of which nothing is left where there are none."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


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
