"""Which file of a folder is meant by a name that a user wrote somewhere else."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence

_DRIVE = re.compile(r"^[A-Za-z]:")


class ImageNames:
    r"""The image files of a folder, found by names of several kinds.

    A name means a file if one is the end of the other: a path below the folder, one from another
    machine (`C:\Users\me\photos\a\1.jpg`), a file name alone; with other upper and lower case,
    or without the suffix.

    Args:
        files: Paths below the folder, with forward slashes.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self.files = files
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for file in files:
            name = file.rpartition("/")[2].casefold()
            for key in {name, os.path.splitext(name)[0]}:
                self._by_name[key].append(file)
        self._exact = set(files)

    def find(self, name: str) -> list[str]:
        """Returns the files that a name may mean: one if it is clear, none if there is none."""
        written = os.path.normpath(_DRIVE.sub("", name.strip()).replace("\\", "/")).lstrip("/")
        if written in self._exact:
            return [written]
        parts = written.casefold().split("/")
        candidates = self._by_name.get(parts[-1], [])
        return [file for file in candidates if _is_end(parts[:-1], _folders(file))]


def _folders(file: str) -> list[str]:
    return file.casefold().split("/")[:-1]


def _is_end(one: list[str], other: list[str]) -> bool:
    shorter = min(len(one), len(other))
    return one[len(one) - shorter :] == other[len(other) - shorter :]
