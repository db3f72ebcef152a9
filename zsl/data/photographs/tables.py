"""Tables of tags as people have them: CSV of several dialects, Parquet, and lines of JSON."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zsl.data.photographs.image_names import ImageNames
from zsl.data.split import Split
from zsl.errors import InputError, listing, reason_of, require
from zsl.files.images import FORMATS
from zsl.files.text_files import read_text

Cell = str | list[str]
_SIGNS = (",", ";", "\t")
_TAG_SIGNS = ("|", ";", ",", "\t", "\n")
_SAMPLE = 200
"""Rows by which columns are recognised."""
_SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
_IMAGE_COLUMNS = {"image", "file", "file_name", "filename", "path", "photo", "picture", "img"}
_TAG_COLUMNS = {"labels", "tags", "keywords", "label", "tag", "keyword", "subject", "categories"}
_TAG_COLUMNS |= {
    "category",
    "classes",
    "class",
    "concepts",
    "stichworte",
    "schlagworte",
    "schlagwörter",
}
_TAG_COLUMNS |= {"mots_clés", "étiquettes", "etiquetas", "palabras_clave", "parole_chiave"}
_SPLIT_COLUMNS = {"split", "set", "subset", "partition", "usage"}
SPLITS = {
    **dict.fromkeys(("train", "training", "trn"), Split.TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev"), Split.VAL),
    **dict.fromkeys(("test", "testing", "tst"), Split.TEST),
}
"""How splits are called."""


def split_called(name: str) -> str:
    """The split that a folder's name, such as `train2017`, or a cell means; empty if none."""
    return str(SPLITS.get(re.sub(r"[\W\d_]+$", "", name.casefold()), ""))


_YES = {"1", "1.0", "true", "yes", "x"}
_NO = {"", "0", "0.0", "-1", "-1.0", "false", "no"}


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


def read_columns(path: Path) -> tuple[dict[str, list[Cell]], str, list[str]]:
    """Returns the cells of each column, what kind of table it is, and notes.

    Raises:
        InputError: It is not a table.
    """
    require(path.is_file(), f"The file {path} does not exist; name your table of tags.")
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path), "a Parquet table", []
    text = read_text(path, "a table of tags: CSV, Parquet or JSON lines", fallback="cp1252")
    require(bool(text.strip()), f"{path} is empty; expected images and their tags.")
    if text.lstrip()[0] in "{[":
        return _read_json(path, text), "a table in JSON", []
    return _read_csv(path, text)


def _read_csv(path: Path, text: str) -> tuple[dict[str, list[Cell]], str, list[str]]:
    tables = {sign: list(_rows(text, sign)) for sign in _SIGNS}
    fitting = {sign: rows for sign, rows in tables.items() if len(rows[0]) > 1}
    require(
        len(fitting) > 0,
        f"{path}: its first line {text.strip().splitlines()[0]!r} is a single cell; expected a "
        "column of images and one or more of tags, with commas, semicolons or tabs between.",
    )

    def regularity(sign: str) -> float:
        width, sample = len(fitting[sign][0]), fitting[sign][:_SAMPLE]
        return float(np.mean([len(cells) == width for cells in sample]))

    sign = max(fitting, key=regularity)
    header, *rows = fitting[sign]
    notes = []
    if any(cell.lower().endswith(_SUFFIXES) for cell in header):
        rows.insert(0, header)
        header = ["column 1", "column 2"]
        notes.append(f"{path.name} has no header: the first column was read as the images.")
    require(len(rows) > 0, f"{path} has no rows below its header.")
    repeated = [name for name in header if name and header.count(name) > 1]
    require(not repeated, f"{path} has two columns {repeated[:1]}; rename one of them.")
    width = len(header)
    if longer := sum(len(cells) > width for cells in rows):
        notes.append(f"{longer:,} rows have further cells, which were read as further tags.")
    columns: dict[str, list[Cell]] = {
        name: [cells[position] if position < len(cells) else "" for cells in rows]
        for position, name in enumerate(header[:-1])
    }
    last = [[cell for cell in cells[width - 1 :] if cell] for cells in rows]
    columns[header[-1]] = [cells if longer else "".join(cells) for cells in last]
    columns = {name: cells for name, cells in columns.items() if name or any(cells)}
    signs = {",": "commas", ";": "semicolons", "\t": "tabs"}
    return columns, f"a table with {signs[sign]}", notes


def _rows(text: str, sign: str) -> list[list[str]]:
    reader = csv.reader(StringIO(text, newline=""), delimiter=sign, skipinitialspace=True)
    try:
        rows = [[cell.strip() for cell in cells] for cells in reader]
    except csv.Error:  # With another sign a line may be as long as the file.
        return [[""]]
    return [cells for cells in rows if any(cells)] or [[""]]


def _read_parquet(path: Path) -> dict[str, list[Cell]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
        return {name: list(map(_cell, table[name].to_pylist())) for name in table.column_names}
    except (ValueError, OSError, pa.ArrowException) as error:
        raise InputError(f"{path} can't be read as a table: {reason_of(error)}.") from error


def _read_json(path: Path, text: str) -> dict[str, list[Cell]]:
    try:
        rows = json.loads(text) if text.lstrip()[0] == "[" else _lines(text)
    except ValueError as error:
        raise InputError(
            f"{path} begins as JSON does, but can't be read as a list of objects, or an object a "
            f"line: {reason_of(error)}."
        ) from error
    require(
        len(rows) > 0 and all(isinstance(row, dict) for row in rows),
        f'{path}: expected objects such as {{"file_name": "1.jpg", "tags": ["dog"]}}.',
    )
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [_cell(row.get(name)) for row in rows] for name in names}


def _lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _cell(value: Any) -> Cell:
    if isinstance(value, dict):  # As parquet's images: {"bytes": ..., "path": ...}.
        value = value.get("path")
    if isinstance(value, list | tuple):
        return [str(item).strip() for item in value if isinstance(item, str | int)]
    return "" if value is None else str(value).strip()


def _image_column(columns: Mapping[str, list[Cell]], names: ImageNames, path: Path) -> str:
    """The column of which most cells name image files; of several the one that is called so."""

    def share(cells: list[Cell]) -> float:
        texts = [cell for cell in cells[:_SAMPLE] if isinstance(cell, str)]
        return sum(bool(cell and names.find(cell)) for cell in texts) / len(cells[:_SAMPLE])

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
    named = [column] if column else [name for name in columns if _key(name) in _TAG_COLUMNS]
    flags = [name for name, cells in columns.items() if _is_flag(cells)]
    texts = [name for name, cells in columns.items() if name not in flags and any(cells)]
    if not named and flags:
        rows = zip(*(columns[name] for name in flags), strict=True)
        tags = [
            [name for name, cell in zip(flags, row, strict=True) if str(cell).casefold() in _YES]
            for row in rows
        ]
        return tags, f"{len(flags)} columns of 0 and 1 are tags", flags
    if not named:  # The one of which a cell has several tags, or the only one.
        several = [name for name in texts if _num_tags(columns[name], separator) > 1.5]
        named = next((found for found in (several, texts) if len(found) == 1), [])
    require(
        len(named) > 0,
        f"No column of {path} is called tags, labels or keywords, or has only 0 and 1, and besides "
        f"the images there is not just one (found: {listing(columns)}); name that of the tags with "
        "--tags_column.",
    )
    chosen = named[0]
    tags, sign = split_cells(columns[chosen], separator)
    how = f"{chosen!r} their tags" + (f", with {sign!r} between them" if sign else "")
    return tags, how, [chosen]


def _num_tags(cells: Sequence[Cell], separator: str | None) -> float:
    """Mean number of tags in a cell that has any."""
    numbers = [len(tags) for tags in split_cells(cells[:_SAMPLE], separator)[0] if tags]
    return float(np.mean(numbers)) if numbers else 0.0


def _is_flag(cells: list[Cell]) -> bool:
    found = {cell.casefold() for cell in cells if isinstance(cell, str)}
    return all(isinstance(cell, str) for cell in cells) and found <= _YES | _NO and found != {""}


def split_cells(cells: Sequence[Cell], separator: str | None) -> tuple[list[list[str]], str]:
    """Splits cells into tags; returns the sign between them too, empty where there is none.

    Args:
        cells: Texts or lists. Brackets and quotes around are left out, as of `['dog', 'beach']`.
        separator: The sign; None takes the one that most cells have, or `#` of hashtags.
    """
    bare = [re.sub(r"^[\[({]|[\])}]$", "", c.strip()) if isinstance(c, str) else c for c in cells]
    texts = [cell for cell in bare if isinstance(cell, str)]
    if separator is None:
        separator = "#" if texts and all(text[:1] in ("", "#") for text in texts) else ""
        separator = separator if any(texts) else ""
        counts = {sign: sum(sign in text for text in texts) for sign in _TAG_SIGNS}
        best = max(_TAG_SIGNS, key=lambda sign: counts[sign])
        separator = separator or (best if counts[best] else "")
    tags = []
    for cell in bare:
        parts = cell.split(separator) if isinstance(cell, str) and separator else cell
        parts = [parts] if isinstance(parts, str) else parts
        tags.append([part.strip(" ,;\t\n") if separator == "#" else part for part in parts])
    return [[clean_tag(part) for part in parts if clean_tag(part)] for parts in tags], separator


def clean_tag(text: str) -> str:
    """A tag without quotes around it and without double spaces."""
    return " ".join(text.strip().strip("'\"").split())


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
