"""Tables that users write: reading them, and naming a row as the user finds it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zsl.errors import InputError, did_you_mean, reason_of

if TYPE_CHECKING:
    import pandas as pd


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Reads columns of a CSV or Parquet file (by its suffix) as stripped strings.

    Raises:
        InputError: The file is missing, can't be read, has no rows or lacks a column.
    """
    # Imported here, since querying a trained model reads no table.
    import pandas as pd
    from pandas.errors import ParserWarning

    if not path.is_file():
        raise InputError(
            f"The file {path} does not exist; expected a CSV or Parquet file with the columns "
            f"{', '.join(columns)}."
        )
    try:
        with warnings.catch_warnings():
            # Rows longer than the header would lose their end.
            warnings.simplefilter("error", ParserWarning)
            if path.suffix == ".parquet":
                table = pd.read_parquet(path)
            else:
                table = pd.read_csv(
                    path, dtype=str, keep_default_na=False, skip_blank_lines=False, index_col=False
                )
    except (ValueError, OSError, ParserWarning) as error:
        raise InputError(f"{path} can't be read as a table: {reason_of(error)}") from error
    for column in columns:
        if column not in table:
            found = [str(name) for name in table.columns]
            raise InputError(
                f"{path} has no column {column!r} (found: {', '.join(found)}); expected "
                f"{', '.join(columns)}." + did_you_mean(column, found)
            )
    if table.empty:
        raise InputError(f"{path} has no rows below its header.")
    return table[list(columns)].fillna("").astype(str).apply(lambda column: column.str.strip())


def row_name(path: Path, row: int) -> str:
    """Names a row, counted from 0, as a reader finds it: `tags.csv, line 2` is the first."""
    return f"{path}, row {row + 1}" if path.suffix == ".parquet" else f"{path}, line {row + 2}"
