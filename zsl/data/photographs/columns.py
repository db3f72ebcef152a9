"""The columns of tables as people have them: CSV of several dialects, Parquet, lines of JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from zsl.errors import InputError, reason_of, require
from zsl.files.images import SUFFIXES
from zsl.files.text_files import looks_like_json, read_text

Cell = str | list[str]
SAMPLE = 200
"""Rows by which a table is understood."""
_SIGNS = {",": "commas", ";": "semicolons", "\t": "tabs"}


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
    if looks_like_json(text):
        return _read_json(path, text), "a table in JSON", []
    return _read_csv(path, text)


def _read_csv(path: Path, text: str) -> tuple[dict[str, list[Cell]], str, list[str]]:
    sign = _sign_between_cells(path, text)
    header, *rows = _rows(path, text, sign)
    notes = []
    if any(cell.lower().endswith(SUFFIXES) for cell in header):
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
    return columns, f"a table with {_SIGNS[sign]}", notes


def _sign_between_cells(path: Path, text: str) -> str:
    """The sign by which most of the first rows have as many cells as the header."""
    regularity = {}
    for sign in _SIGNS:
        try:
            rows = list(islice(_stripped_rows(text, sign), SAMPLE))
        except csv.Error:  # With another sign a cell may be as long as the file.
            continue
        if rows and len(rows[0]) > 1:
            regularity[sign] = np.mean([len(cells) == len(rows[0]) for cells in rows])
    require(
        len(regularity) > 0,
        f"{path}: its first line {text.strip().splitlines()[0]!r} is a single cell; expected a "
        "column of images and one or more of tags, with commas, semicolons or tabs between.",
    )
    return max(regularity, key=lambda sign: regularity[sign])


def _rows(path: Path, text: str, sign: str) -> list[list[str]]:
    try:
        return list(_stripped_rows(text, sign))
    except csv.Error as error:
        raise InputError(
            f"{path} can't be read as a table with {_SIGNS[sign]}: {reason_of(error)}; look for a "
            "quote that is not closed."
        ) from error


def _stripped_rows(text: str, sign: str) -> Iterator[list[str]]:
    """Yields the rows that are not blank."""
    reader = csv.reader(StringIO(text, newline=""), delimiter=sign, skipinitialspace=True)
    rows = ([cell.strip() for cell in cells] for cells in reader)
    return (cells for cells in rows if any(cells))


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
        rows = json.loads(text) if text.lstrip().startswith("[") else _lines(text)
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
