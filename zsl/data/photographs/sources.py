"""Where tags of photographs can come from, and which of these a folder has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from zsl.data.photographs.image_names import ImageNames
from zsl.data.photographs.tables import TaggedImages, read_tagged, split_called
from zsl.data.photographs.tags import clean_tag
from zsl.errors import InputError, listing, require
from zsl.files.digests import file_digest
from zsl.files.keywords import read_keywords

FORMATS = ("table", "folders", "keywords")
_TABLES = (".csv", ".tsv", ".parquet", ".jsonl")
CLASSES = "classes.csv"
"""Roles of labels, which is no table of tags."""
_METADATA = "metadata.jsonl"
_FEW = 0.1
"""Of the images have keywords: fewer are leftovers."""


def find_source(
    root: Path,
    files: Sequence[str],
    table: Path | None,
    kind: str | None,
    separator: str | None,
    column: str | None,
    passed_over: Sequence[str],
) -> TaggedImages:
    """Reads the tags of images from a table, from the images themselves, or from their folders.

    Args:
        root: The folder of the images.
        files: The images, as paths below it with forward slashes.
        table: The table; None looks for one in `root`.
        kind: One of `FORMATS`; None takes the first that there is: a table, keywords inside at
            least a tenth of the images, a folder for each tag.
        separator: The sign between tags in a table; None finds it.
        column: The column of tags in a table; None finds it.
        passed_over: Names of files that are no such table.

    Raises:
        InputError: There are no tags, or several tables to choose from.
    """
    if table is None and kind in (None, "table"):
        table, kind = _only_table(root, passed_over, kind)
    if table is not None:
        return read_tagged(table, ImageNames(files), separator, column)
    if kind in (None, "table") and (parts := sorted(root.glob(f"*/{_METADATA}"))):
        return _split_metadata(root, parts, files, separator, column)
    if kind in (None, "keywords"):
        found = _of_keywords(root, files)
        num_tagged = sum(map(bool, found.tags))
        if kind == "keywords" or num_tagged >= max(1, _FEW * len(files)):
            require(num_tagged > 0, f"None of the {len(files):,} images in {root} has keywords.")
            return found
    if kind in (None, "folders") and any("/" in file for file in files):
        return _of_folders(root, files)
    raise InputError(
        f"Nothing tells the tags of the {len(files):,} images in {root}: there is no table (CSV, "
        f"Parquet, {_METADATA}), no folder for each tag, and too few images have keywords inside "
        "them; name your table with --tags."
    )


def _only_table(
    root: Path, passed_over: Sequence[str], kind: str | None
) -> tuple[Path | None, str | None]:
    tables = sorted(
        path
        for path in root.iterdir()
        if path.suffix.lower() in _TABLES and path.name not in [CLASSES, *passed_over]
    )
    if metadata := [path for path in tables if path.stem == "metadata"]:
        tables = metadata[:1]
    require(
        len(tables) < 2,
        f"{root} has {len(tables)} tables ({listing([path.name for path in tables])}); name the "
        "one of the tags with --tags.",
    )
    require(
        len(tables) > 0 or kind is None or any(root.glob(f"*/{_METADATA}")),
        f"{root} has no table in it ({', '.join(_TABLES)}); name it with --tags.",
    )
    return (tables[0], "table") if tables else (None, kind)


def _split_metadata(
    root: Path,
    parts: Sequence[Path],
    files: Sequence[str],
    separator: str | None,
    column: str | None,
) -> TaggedImages:
    """Joins a table in each of several folders, whose paths begin there."""
    names: list[str] = []
    tags: list[list[str]] = []
    notes: list[str] = []
    splits: list[str] = []
    for path in parts:
        prefix = f"{path.parent.name}/"
        own = [file.removeprefix(prefix) for file in files if file.startswith(prefix)]
        require(len(own) > 0, f"{path} has no image beside it.")
        found = read_tagged(path, ImageNames(own), separator, column)
        names += [prefix + name for name in found.names]
        tags += found.tags
        notes += found.notes
        splits += [split_called(path.parent.name)] * len(found.names)
    folders = listing([path.parent.name for path in parts])
    source = f"{_METADATA} in the folders {folders}"
    return TaggedImages(names, tags, splits if all(splits) else [], source, notes)


def _of_keywords(root: Path, files: Sequence[str]) -> TaggedImages:
    tags, problems = [], []
    for file in tqdm(files, "reading keywords", delay=2, unit=" images"):
        try:
            tags.append(list(dict.fromkeys(map(clean_tag, read_keywords(root / file)))))
        except InputError as error:
            tags.append([])
            problems.append(str(error))
    more = f"; so it is with {len(problems) - 1:,} more" if len(problems) > 1 else ""
    notes = [problems[0].rstrip(".") + f"{more}."] if problems else []
    source = f"keywords inside the images, which {sum(map(bool, tags)):,} have"
    return TaggedImages(list(files), tags, [], source, notes)


def _of_folders(root: Path, files: Sequence[str]) -> TaggedImages:
    """Every folder on the way to an image is a tag, but for those that all images share.

    A photograph that lies in several folders, byte by byte the same, is one with several tags.
    """
    folders = [file.split("/")[:-1] for file in files]
    shared = 0
    while all(len(f) > shared for f in folders) and len({f[shared] for f in folders}) == 1:
        shared += 1
    folders = [own[shared:] for own in folders]
    splits: list[str] = []
    if all(own and split_called(own[0]) for own in folders):
        splits = [split_called(own[0]) for own in folders]
        folders = [own[1:] for own in folders]
    require(
        any(folders),
        f"All images in {root} lie in one folder (or one each of train, val and test), so folders "
        "do not tell their tags; name a table with --tags.",
    )
    names: list[str] = []
    tags: list[list[str]] = []
    kept_splits: list[str] = []
    first: dict[tuple[str, str], int] = {}
    copies = _copies(root, files)
    for row, file in enumerate(files):
        split = splits[row] if splits else ""
        position = first.setdefault((copies.get(file, file), split), len(names))
        if position == len(names):
            names.append(file)
            tags.append([])
            kept_splits.append(split)
        new = map(clean_tag, folders[row])
        tags[position] += [tag for tag in new if tag not in tags[position]]
    num_joined = len(files) - len(names)
    joined = f"{num_joined:,} files are copies of others; a copy's folders are further tags."
    source = "folders, each a tag" + (" below train, val and test" if splits else "")
    notes = [joined] if num_joined else []
    return TaggedImages(names, tags, kept_splits if splits else [], source, notes)


def _copies(root: Path, files: Sequence[str]) -> dict[str, str]:
    """Digests of the files that have as many bytes as another."""
    by_size: dict[int, list[str]] = defaultdict(list)
    for file in files:
        path = root / file
        by_size[path.stat().st_size if path.is_file() else -1].append(file)
    alike = [file for size, own in by_size.items() if size > 0 and len(own) > 1 for file in own]
    return {file: file_digest(root / file) for file in alike}
