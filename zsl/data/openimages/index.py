"""The index: images and their verified labels, made once, in files mapped into memory."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from zsl.data.openimages.annotations import sorted_annotations
from zsl.data.openimages.classes import Classes, read_classes
from zsl.data.openimages.image_folders import MISSING, find_images, image_folders
from zsl.data.openimages.source_files import FOLDERS, SourceFiles
from zsl.data.sparse_targets import SparseTargets, TargetBlock
from zsl.data.split import Split
from zsl.errors import require
from zsl.files.arrays import ArrayWriter, map_array
from zsl.files.atomic import atomic_folder
from zsl.files.digests import file_digest, text_digest
from zsl.files.folders import locked_folder
from zsl.labels import Role

_log = logging.getLogger(__name__)

_FORMAT = 1
_RECORD = "index.json"
ALIASES = "aliases.csv"
"""Names that carry a LabelName and what is meant, as `WordVectors` reads them."""


class SplitIndex:
    """The images of a split that have a verified label, ascending by their ImageIDs.

    Args:
        folder: The split's folder in an index.
        folders: The folders of image files, whose numbers are stored.
        num_labels: Number of labels L.

    Attributes:
        images: The ImageIDs as numbers, uint64 (N,).
        place: Which folder has the image, uint8 (N,), or `MISSING`.
        targets: The verified labels.
    """

    def __init__(self, folder: Path, folders: list[str], num_labels: int) -> None:
        self.folder = folder
        self.folders = folders
        self.images = map_array(folder / "images.npy")
        self.place = map_array(folder / "place.npy")
        self.targets = SparseTargets(folder, num_labels)

    def __reduce__(self) -> tuple[type[SplitIndex], tuple[Path, list[str], int]]:
        """Pickles the path alone, so that each process maps the files itself."""
        return SplitIndex, (self.folder, self.folders, self.targets.num_labels)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def file(self, row: int) -> str:
        """The name of an image's file below the image folder, or where a missing one belongs."""
        place = self.place[row]
        folder = self.folders[0] if place == MISSING else self.folders[place]
        return f"{folder}/{self.images[row]:016x}.jpg"


class OpenImagesIndex:
    """An index on disk, opened at once.

    Args:
        folder: Made by `open_index`.

    Attributes:
        classes: The L labels.
        splits: The images of each split.
        fingerprint: A digest of images, labels and splits.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.info: dict[str, Any] = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        found = self.info["classes"]
        self.classes = Classes(**{**found, "roles": [Role(role) for role in found["roles"]]})
        self.fingerprint: str = self.info["fingerprint"]
        self.splits = {
            split: SplitIndex(folder / split, self.info["folders"][split], len(self.classes.ids))
            for split in Split
        }


def open_index(files: SourceFiles, images: Path, prepared: Path) -> OpenImagesIndex:
    """Opens the index; makes it where it is missing, or where a file that it was made of changed.

    Args:
        files: The files of a version.
        images: The folder of `train`, `validation` and `test`.
        prepared: The folder of what is made from the data.

    Raises:
        InputError: A file is wrong, or the index can't be written.
    """
    folders = {split: image_folders(images, name) for split, name in FOLDERS.items()}
    key = {
        "format": _FORMAT,
        "sources": {str(path): _stamp(path) for path in files},
        "images": {
            str(images / folder): (images / folder).stat().st_mtime_ns
            for split in Split
            for folder in folders[split]
        },
    }
    name = text_digest([str(images), *map(str, files)])[:8]
    path = prepared / f"openimages-{files.version}-{name}"
    if index := _open_current(path, key):
        return index
    with locked_folder(prepared, path.name):
        # Another process may have made it meanwhile.
        if not _open_current(path, key):
            _log.info("Indexing OpenImages (%s); this is done once ...", files.version)
            _build(path, files, images, folders, key)
    return OpenImagesIndex(path)


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _open_current(path: Path, key: dict[str, Any]) -> OpenImagesIndex | None:
    with suppress(
        OSError, ValueError, KeyError, TypeError
    ):  # Missing, damaged, or another version's.
        index = OpenImagesIndex(path)
        return index if index.info["key"] == key else None
    return None


def _build(
    path: Path,
    files: SourceFiles,
    images: Path,
    folders: dict[Split, list[str]],
    key: dict[str, Any],
) -> None:
    classes = read_classes(files)
    require(
        len(classes.ids) <= 2**16,
        f"{files.classes} has {len(classes.ids):,} labels; at most 65,536.",
    )
    digests = [*classes.ids, *classes.names, *classes.roles]
    with atomic_folder(path) as temporary:
        for split, name in FOLDERS.items():
            folder = temporary / split
            folder.mkdir()
            _write_annotations(folder, files.annotations[split], classes.ids)
            digests += [file_digest(file) for file in sorted(folder.glob("*.npy"))]
            place = find_images(map_array(folder / "images.npy"), images, folders[split])
            np.save(folder / "place.npy", place)
            folders[split] = folders[split] or [name]
        info = {
            "key": key,
            "classes": asdict(classes),
            "folders": folders,
            "fingerprint": text_digest(digests),
        }
        frame = pd.DataFrame(classes.aliases.items(), columns=["name", "alias"])
        frame.to_csv(temporary / ALIASES, index=False)
        (temporary / _RECORD).write_text(json.dumps(info), encoding="utf-8")


def _write_annotations(folder: Path, path: Path, ids: list[str]) -> None:
    """Writes images and targets of a split, one block of them after the other."""
    with ArrayWriter.create(folder / "images.npy", "u8") as images:

        def blocks() -> Iterator[TargetBlock]:
            for numbers, block in sorted_annotations(path, ids, folder):
                images.write(numbers)
                yield block

        SparseTargets.write(folder, blocks())
