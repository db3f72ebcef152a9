"""What was predicted for images, as rows of Arrow and Parquet tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa


class Row(NamedTuple):
    """What was predicted for an image."""

    image: str
    """Its path."""
    labels: list[str]
    """The best first; none where the image can't be read."""
    scores: list[float]
    unlike_training_images: bool
    error: str | None
    """Why it can't be read."""


SCHEMA = pa.schema(
    {
        "image": pa.string(),
        "labels": pa.list_(pa.string()),
        "scores": pa.list_(pa.float32()),
        "unlike_training_images": pa.bool_(),
        "error": pa.string(),
    }
)
"""Columns of the tables, those of a `Row`."""


def as_table(rows: Sequence[Row]) -> pa.Table:
    """Returns a table with `SCHEMA`."""
    columns = {name: [getattr(row, name) for row in rows] for name in SCHEMA.names}
    return pa.table(columns, SCHEMA)


def absolute_text(path: Path) -> str:
    r"""Returns the absolute path in characters; bytes that are none are written as `\xff`."""
    return os.fsencode(os.path.abspath(path)).decode("utf-8", "backslashreplace")
