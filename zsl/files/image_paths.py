"""Which image files a user means.

The walk is ours: `Path.rglob` passes over folders that can't be read without a word, and `glob`
follows links in circles.
"""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from zsl.errors import InputError, did_you_mean, others, require, shorten
from zsl.files.digest_set import DigestSet
from zsl.files.images import SUFFIXES

_log = logging.getLogger(__name__)

_DATA_SUFFIXES = {".csv", ".tsv", ".parquet", ".json", ".jsonl", ".yaml", ".txt", ".xmp"}
"""Of files that belong beside images."""


def find_images(arguments: Sequence[str]) -> list[Path]:
    """Lists image files, each once; see `ImageListing`."""
    return list(ImageListing(arguments))


class ImageListing:
    """Image files, each once, in the order as named, and those of folders sorted.

    They are looked for anew in each iteration, so that millions need not be in memory: what is
    held is the names in one folder at a time and, with more than one argument, 16 to 40 bytes for
    each image.

    Args:
        arguments: Files, whatever their suffix; folders, of which the images are taken at any depth
            but for hidden ones; and patterns such as `photos/**/*.jpg`.

    Raises:
        InputError: One does not exist; in an iteration, it matches nothing, or has no image in it.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        _check_exist(arguments)
        self._arguments = arguments
        self._reported: set[Path] = set()

    def __iter__(self) -> Iterator[Path]:
        """Yields the paths; what is passed over in a folder is logged the first time."""
        found = DigestSet()
        for argument in self._arguments:
            for path in self._images_of(argument):
                if len(self._arguments) == 1 or found.add(os.path.abspath(path)):
                    yield path

    def _images_of(self, argument: str) -> Iterable[Path]:
        # os.path says of names too long for the system that there is no such file; Path raises.
        path = Path(os.path.expanduser(argument))
        if os.path.isdir(path):
            return self._images_in(path)
        if os.path.exists(path):
            return [path]
        matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
        require(
            len(matches) > 0,
            f"The pattern {argument} matches nothing; expected one that matches images or folders.",
        )
        files = [match for match in matches if match.is_file()]
        # A pattern with ** matches folders beside the files in them.
        return files or (image for match in matches for image in self._images_in(match))

    def _images_in(self, folder: Path) -> Iterator[Path]:
        """Yields the images of a folder, in the order of their paths."""
        passed_over: Counter[str] = Counter()
        is_empty = True
        for path in _walk(str(folder), passed_over):
            is_empty = False
            yield Path(path)
        counts = _counts(passed_over)
        require(
            not is_empty,
            f"The folder {folder} has no images in it ({', '.join(sorted(SUFFIXES))})"
            + (f", but {counts}." if counts else "."),
        )
        other = Counter({kind: n for kind, n in passed_over.items() if kind not in _DATA_SUFFIXES})
        counts = _counts(other)
        if counts and folder not in self._reported:
            self._reported.add(folder)
            _log.warning(
                "Passed over in %s: %s. Convert images of other formats, and name linked folders, "
                "to have them read.",
                folder,
                shorten(counts, 500),
            )


def _counts(kinds: Counter[str]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common(20))


def _check_exist(arguments: Sequence[str]) -> None:
    paths = [Path(os.path.expanduser(text)) for text in arguments if not glob.has_magic(text)]
    if absent := [path for path in paths if not os.path.exists(path)]:
        path, folder = absent[0], absent[0].parent
        siblings = os.listdir(folder) if os.path.isdir(folder) else []
        raise InputError(
            f"The image {path} does not exist; expected a file, a folder or a pattern such as "
            f"'photos/*.jpg'.{did_you_mean(path.name, siblings)}" + others([*map(str, absent)])
        )


def _walk(folder: str, passed_over: Counter[str]) -> Iterator[str]:
    """Yields paths of images, sorted as `Path` sorts; counts what else there is by its kind."""
    folders: set[str] = set()
    images: list[str] = []
    links: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            suffix = os.path.splitext(entry.name)[1].lower()
            # The entry knows what it is without a look at the disk, unless it is a link.
            if entry.is_dir(follow_symlinks=False):
                folders.add(entry.name)
            elif entry.is_symlink() and os.path.isdir(entry.path):
                links.append(f"linked folder ({entry.path})")
            elif suffix not in SUFFIXES:
                passed_over[suffix or "without suffix"] += 1
            elif entry.is_file(follow_symlinks=False) or _is_file_or_broken(entry.path):
                images.append(entry.name)
    passed_over.update(links)
    for name in sorted([*images, *folders]):
        path = os.path.join(folder, name)
        if name in folders:
            yield from _walk(path, passed_over)
        else:
            yield path


def _is_file_or_broken(link: str) -> bool:
    """Broken links are reported when read, a pipe would block."""
    return os.path.isfile(link) or not os.path.exists(link)
