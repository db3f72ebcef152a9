"""Tables that users write: reading them, and naming a row as the user finds it."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsl.errors import InputError, did_you_mean, listing, others, reason_of, require, shorten
from zsl.files.text_files import looks_like_json, read_text

if TYPE_CHECKING:
    import pyarrow as pa


def read_table(
    path: Path, columns: Sequence[str], lists: Sequence[str] = ()
) -> dict[str, list[Any]]:
    """Reads columns of a CSV or Parquet file (by its suffix) as stripped strings.

    The cells of a CSV are separated by commas, semicolons or tabs; blank rows at its end are left
    out.

    Args:
        path: The file.
        columns: The columns to read; others are ignored.
        lists: Columns that may hold lists of strings instead, in Parquet.

    Returns:
        The cells of each column, at least one.

    Raises:
        InputError: The file is missing, can't be read, has no rows, or lacks a column or has one of
            another type.
    """
    if not path.is_file():
        raise InputError(
            f"The file {path} does not exist; expected a CSV or Parquet file with the columns "
            f"{', '.join(columns)}."
        )
    table = _read_parquet(path, columns, lists) if _is_parquet(path) else _read_csv(path, columns)
    require(len(table[columns[0]]) > 0, f"{path} has no rows below its header.")
    return table


def row_name(path: Path, row: int) -> str:
    """Names a row, counted from 0, as a reader finds it: `tags.csv, line 2` is the first."""
    return f"{path}, row {row + 1}" if _is_parquet(path) else f"{path}, line {row + 2}"


def other_rows(path: Path, rows: Sequence[int], cells: Sequence[str] = ()) -> str:
    """Returns a sentence that lists the rows after the first, whose error it follows.

    Args:
        path: The file.
        rows: Counted from 0.
        cells: The column in which they are wrong, to be quoted; none where it is empty.
    """
    short = Path(path.name)
    found = [f" ({shorten(cells[row], 20)})" if cells else "" for row in rows]
    return others([row_name(short, row) + cell for row, cell in zip(rows, found, strict=True)])


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def _read_csv(path: Path, columns: Sequence[str]) -> dict[str, list[Any]]:
    text = read_text(path, f"a CSV file, UTF-8, with the columns {', '.join(columns)}")
    if looks_like_json(text):
        kind = "a COCO JSON" if '"annotations"' in text and '"images"' in text else "JSON"
        raise InputError(
            f"{path} is {kind}, not a table; write what it holds to a CSV or Parquet file with the "
            f"columns {', '.join(columns)}."
        )
    first_line = StringIO(text, newline="").readline()
    fitting = [
        sign for sign in ",;\t" if set(columns) <= set(next(_rows(path, first_line, sign), []))
    ]
    delimiter = fitting[0] if fitting else ","
    header, *rows = list(_rows(path, text, delimiter)) or [[]]
    _check_columns(path, columns, header)
    while rows and not any(rows[-1]):
        rows.pop()
    if longer := [row for row, cells in enumerate(rows) if any(cells[len(header) :])]:
        raise InputError(
            f"{row_name(path, longer[0])} has {len(rows[longer[0]])} cells, but the header has "
            f"{len(header)}; put quotes around a cell that has {delimiter!r} in it."
            + other_rows(path, longer)
        )
    width = len(header)
    padded = [cells + [""] * (width - len(cells)) for cells in rows]
    positions = {column: header.index(column) for column in columns}
    return {column: [cells[position] for cells in padded] for column, position in positions.items()}


def _rows(path: Path, text: str, delimiter: str) -> Iterator[list[str]]:
    reader = csv.reader(
        StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    try:
        for cells in reader:
            yield [cell.strip() for cell in cells]
    except csv.Error as error:
        raise InputError(
            f"{path} can't be read as a table: line {reader.line_num}: {reason_of(error)}."
        ) from error


def _read_parquet(path: Path, columns: Sequence[str], lists: Sequence[str]) -> dict[str, list[Any]]:
    # Imported here, since querying a trained model reads no table.
    import pyarrow as pa
    from pyarrow import parquet

    try:
        _check_columns(path, columns, parquet.read_schema(path).names)
        table = parquet.read_table(path, columns=list(columns))
    except (ValueError, OSError, pa.ArrowException) as error:
        raise InputError(f"{path} can't be read as a table: {reason_of(error)}") from error
    return {column: _cells(path, column, table[column], column in lists) for column in columns}


def _cells(path: Path, name: str, column: pa.ChunkedArray, may_be_lists: bool) -> list[Any]:
    """Returns strings or lists of them; whole numbers are names, other types are none."""
    from pyarrow import types

    kind = column.type
    if _is_name(kind) or types.is_null(kind):
        return ["" if cell is None else str(cell).strip() for cell in column.to_pylist()]
    is_list = types.is_list(kind) or types.is_large_list(kind)
    if may_be_lists and is_list and _is_name(kind.value_type):
        rows = column.to_pylist()
        return [["" if name is None else str(name).strip() for name in row or ()] for row in rows]
    raise InputError(
        f"{path}: the column {name!r} is of the type {shorten(str(kind), 60)}; expected text"
        + (" or lists of text." if may_be_lists else ".")
    )


def _is_name(kind: pa.DataType) -> bool:
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return types.is_string(kind) or types.is_large_string(kind) or types.is_integer(kind)


def _check_columns(path: Path, columns: Sequence[str], found: list[str]) -> None:
    for column in columns:
        require(
            column in found,
            f"{path} has no column {column!r} (found: {listing(found)}); expected "
            f"{', '.join(columns)}." + did_you_mean(column, found),
        )
        require(found.count(column) == 1, f"{path} has two columns {column!r}; keep one of them.")
