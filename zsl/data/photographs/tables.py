"""Tables of images and their tags: which column is what, found by names and by contents."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zsl.data.photographs.columns import SAMPLE, Cell, read_columns
from zsl.data.photographs.image_names import ImageNames
from zsl.data.photographs.tags import split_cells
from zsl.data.split import Split
from zsl.errors import InputError, listing, require

_IMAGE_COLUMNS = {"image", "file", "file_name", "filename", "path", "photo", "picture", "img"}
_TAG_COLUMN = re.compile(
    "labels?|tags?|keywords?|subject|category|categories|class|classes|concepts"
    "|stichworte|schlagworte|schlagwörter|mots_clés|étiquettes|etiquetas|palabras_clave"
    "|parole_chiave"
)
_SPLIT_COLUMNS = {"split", "set", "subset", "partition", "usage"}
_SPLITS = {
    **dict.fromkeys(("train", "training", "trn"), Split.TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev"), Split.VAL),
    **dict.fromkeys(("test", "testing", "tst"), Split.TEST),
}
_YES = {"1", "1.0", "true", "yes", "x"}
_NO = {"", "0", "0.0", "-1", "-1.0", "false", "no"}


def split_called(name: str) -> str:
    """The split that a folder's name, such as `train2017`, or a cell means; empty if none."""
    return str(_SPLITS.get(re.sub(r"[\W\d_]+$", "", name.casefold()), ""))


class TaggedImages(NamedTuple):
    """What a source says of images."""

    names: list[str]
    """The images, as the source names them, one or more."""
    tags: list[list[str]]
    """The tags of each."""
    splits: list[str]
    """The split of each; empty where the source has none."""
    source: str
    """What was read, in words."""
    notes: list[str]
    """What a user should know of it."""


def read_tagged(
    path: Path, names: ImageNames, separator: str | None = None, column: str | None = None
) -> TaggedImages:
    """Reads a table of images and their tags; says how it was understood.

    Args:
        path: CSV (with commas, semicolons or tabs; UTF-8, UTF-16 or Windows' encoding), Parquet, or
            JSON lines, as `metadata.jsonl` of Hugging Face.
        names: By what the column of images is recognised.
        separator: The sign between tags; None finds it.
        column: The column of tags; None finds it.

    Raises:
        InputError: It can't be read, or no column has images, or none tags.
    """
    columns, kind, notes = read_columns(path)
    image = _image_column(columns, names, path)
    rest = {name: cells for name, cells in columns.items() if name != image}
    split = next((n for n, cells in rest.items() if _is_split(n, cells)), None)
    given = rest.pop(split) if split is not None else []
    splits = [split_called(str(cell)) for cell in given]
    tags, how, used = _tags(rest, separator, column, path)
    if passed_over := [name for name in rest if name not in used]:
        notes.append(f"columns that were passed over: {listing(passed_over)}.")
    if any(cell in ("-1", "-1.0") for name in used for cell in rest[name]):
        notes.append("-1 (unknown) was read as absent.")
    source = f"{path.name}, {kind}: {image!r} names the images, {how}"
    source += f", {split!r} their split" if split is not None else ""
    images = [str(cell) for cell in columns[image]]
    return _joined(TaggedImages(images, tags, splits, source, notes), path)


def _image_column(columns: Mapping[str, list[Cell]], names: ImageNames, path: Path) -> str:
    """The column of which most cells name image files; of several the one that is called so."""

    def share(cells: list[Cell]) -> float:
        texts = [cell for cell in cells[:SAMPLE] if isinstance(cell, str)]
        return sum(bool(cell and names.find(cell)) for cell in texts) / len(cells[:SAMPLE])

    shares = {name: (share(c), _key(name) in _IMAGE_COLUMNS) for name, c in columns.items()}
    best = max(shares, key=lambda name: shares[name])
    if not shares[best][0]:
        named = next((name for name, (_, is_named) in shares.items() if is_named), best)
        raise InputError(
            f"No column of {path} names images that are there (its columns: {listing(columns)}; "
            f"the first {named!r} is {str(columns[named][0])!r}, the first image "
            f"{names.files[0]!r}); write paths below the folder, or file names."
        )
    return best


def _key(name: str) -> str:
    return re.sub(r"\W+", "_", name.strip().casefold())


def _is_split(name: str, cells: list[Cell]) -> bool:
    return _key(name) in _SPLIT_COLUMNS and all(split_called(str(c)) for c in cells)


def _tags(
    columns: Mapping[str, list[Cell]], separator: str | None, column: str | None, path: Path
) -> tuple[list[list[str]], str, list[str]]:
    """Returns the tags of each row, how they were found, and the columns that have them."""
    require(
        column is None or column in columns,
        f"{path} has no column {column!r} besides the images (found: {listing(columns)}).",
    )
    named = [column] if column else [name for name in columns if _TAG_COLUMN.fullmatch(_key(name))]
    flags = [name for name, cells in columns.items() if _is_flag(cells)]
    if not named and flags:
        rows = zip(*(columns[name] for name in flags), strict=True)
        tags = [
            [name for name, cell in zip(flags, row, strict=True) if str(cell).casefold() in _YES]
            for row in rows
        ]
        return tags, f"{len(flags)} columns of 0 and 1 are tags", flags
    texts = {name: cells for name, cells in columns.items() if name not in flags and any(cells)}
    chosen = named[0] if named else _only_column_of_tags(texts, separator)
    if chosen is None:
        raise InputError(
            f"No column of {path} is called tags, labels or keywords, or has only 0 and 1, and "
            f"besides the images there is not just one (found: {listing(columns)}); name that of "
            "the tags with --tags_column."
        )
    tags, sign = split_cells(columns[chosen], separator)
    how = f"{chosen!r} their tags" + (f", with {sign!r} between them" if sign else "")
    return tags, how, [chosen]


def _only_column_of_tags(texts: Mapping[str, list[Cell]], separator: str | None) -> str | None:
    """The one column of which a cell has several tags, or the only one there is."""
    several = [name for name, cells in texts.items() if _num_tags(cells, separator) > 1.5]
    return next((found[0] for found in (several, list(texts)) if len(found) == 1), None)


def _num_tags(cells: Sequence[Cell], separator: str | None) -> float:
    """Mean number of tags in a cell that has any."""
    numbers = [len(tags) for tags in split_cells(cells[:SAMPLE], separator)[0] if tags]
    return float(np.mean(numbers)) if numbers else 0.0


def _is_flag(cells: list[Cell]) -> bool:
    found = {cell.casefold() for cell in cells if isinstance(cell, str)}
    return all(isinstance(cell, str) for cell in cells) and found <= _YES | _NO and found != {""}


def _joined(found: TaggedImages, path: Path) -> TaggedImages:
    """One row for each image: those that a table has for each tag are joined."""
    rows: dict[str, int] = {}
    names: list[str] = []
    tags: list[list[str]] = []
    splits: list[str] = []
    for row, name in enumerate(found.names):
        if not name:
            continue
        key = os.path.normpath(name)
        first = rows.setdefault(key, len(names))
        if first == len(names):
            names.append(name)
            tags.append(list(found.tags[row]))
            splits += found.splits[row : row + 1]
            continue
        tags[first] += [tag for tag in found.tags[row] if tag not in tags[first]]
        require(
            not splits or splits[first] == found.splits[row],
            f"{path}: the image {name!r} is there twice, once with the split {splits[first:][:1]} "
            f"and once with {found.splits[row:][:1]}; decide on one.",
        )
    notes = list(found.notes)
    if blank := sum(not name for name in found.names):
        notes.append(f"{blank:,} rows name no image and were passed over.")
    if (more := len(found.names) - blank - len(names)) > 0:
        notes.append(f"{more:,} further rows of the same images were joined to the first one.")
    return TaggedImages(names, tags, splits, found.source, notes)
