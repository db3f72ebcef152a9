"""Where the parts of a copy of NUS-WIDE are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zsl.errors import InputError


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
