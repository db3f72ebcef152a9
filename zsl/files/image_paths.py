"""Which image files a user means.

The walk is ours: `Path.rglob` passes over folders that can't be read without a word, and `glob`
follows links in circles.
"""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from zsl.errors import InputError, did_you_mean, others, require, shorten
from zsl.files.images import FORMATS

_log = logging.getLogger(__name__)

_SUFFIXES = {suffix for suffixes in FORMATS.values() for suffix in suffixes}


def find_images(arguments: Sequence[str]) -> list[Path]:
    """Lists image files, each once: as named, and those of folders sorted.

    Args:
        arguments: Files, whatever their suffix; folders, of which the images are taken at any depth
            but for hidden ones; and patterns such as `photos/**/*.jpg`.

    Raises:
        InputError: One does not exist, matches nothing, or has no image in it.
    """
    _check_exist(arguments)
    found: dict[str, Path] = {}
    for argument in arguments:
        for path in _images_of(argument):
            found.setdefault(os.path.abspath(path), path)
    return list(found.values())


def _check_exist(arguments: Sequence[str]) -> None:
    paths = [Path(os.path.expanduser(text)) for text in arguments if not glob.has_magic(text)]
    if absent := [path for path in paths if not os.path.exists(path)]:
        path, folder = absent[0], absent[0].parent
        siblings = os.listdir(folder) if os.path.isdir(folder) else []
        raise InputError(
            f"The image {path} does not exist; expected a file, a folder or a pattern such as "
            f"'photos/*.jpg'.{did_you_mean(path.name, siblings)}" + others([*map(str, absent)])
        )


def _images_of(argument: str) -> Iterable[Path]:
    # os.path says of names too long for the system that there is no such file; Path raises.
    path = Path(os.path.expanduser(argument))
    if os.path.isdir(path):
        return _images_in(path)
    if os.path.exists(path):
        return [path]
    matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    require(
        len(matches) > 0,
        f"The pattern {argument} matches nothing; expected one that matches images or folders.",
    )
    files = [match for match in matches if match.is_file()]
    # A pattern with ** matches folders beside the files in them.
    return files or [image for match in matches for image in _images_in(match)]


def _images_in(folder: Path) -> list[Path]:
    """Lists the images of a folder, in the order of their paths."""
    images: list[Path] = []
    passed_over: Counter[str] = Counter()
    for parent, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(parent, name) for name in files if not name.startswith(".")]
        images += [path for path in paths if _is_image(path)]
        passed_over.update(path.suffix.lower() or "without suffix" for path in paths)
        links = [str(Path(parent, name)) for name in folders if Path(parent, name).is_symlink()]
        passed_over.update(f"linked folder ({link})" for link in links)
    for suffix in _SUFFIXES:
        del passed_over[suffix]
    counts = ", ".join(f"{count:,} {kind}" for kind, count in passed_over.most_common(20))
    require(
        len(images) > 0,
        f"The folder {folder} has no images in it ({', '.join(sorted(_SUFFIXES))})"
        + (f", but {counts}." if counts else "."),
    )
    if counts:
        _log.warning(
            "Passed over in %s: %s. Convert images of other formats, and name linked folders, to "
            "have them read.",
            folder,
            shorten(counts, 500),
        )
    return sorted(images)


def _is_image(path: Path) -> bool:
    """Whether the suffix says so; broken links are reported when read, a pipe would block."""
    return path.suffix.lower() in _SUFFIXES and (os.path.isfile(path) or not os.path.exists(path))


def _raise(error: OSError) -> None:
    raise error
