"""Where the parts of a copy of NUS-WIDE are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from zsl.errors import InputError
from zsl.files.folders import locked_folder


@dataclass(frozen=True)
class Folders:
    """The folders of a copy of NUS-WIDE.

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
        """Finds the folders that the user did not name.

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
                    f"The image folder {chosen} does not exist; set image_folder to the folder "
                    f"below {root} that holds the images."
                )
        return cls(root, chosen, root / (prepared or "zsl"))

    @property
    def checks(self) -> Path:
        """The file in which `zsl.prepare` keeps what it found in each image."""
        return self.prepared / "checks.parquet"

    @contextmanager
    def locked(self, what: str) -> Iterator[None]:
        """Makes the prepared folder, and keeps other processes from the same work in it.

        Raises:
            InputError: It can't be written.
        """
        with locked_folder(self.prepared, what):
            yield

    def shrunken(self, side: int) -> Path:
        """The copies of the images that are `side` pixels wide and high."""
        return self.prepared / f"images-{side}"
