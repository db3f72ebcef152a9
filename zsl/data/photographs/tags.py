"""Tags as they stand in the cells of a table."""

from __future__ import annotations

import re
from collections.abc import Sequence

from zsl.data.photographs.columns import Cell

_SIGNS = ("|", ";", ",", "\t", "\n")


def split_cells(cells: Sequence[Cell], separator: str | None) -> tuple[list[list[str]], str]:
    """Splits cells into tags; returns the sign between them too, empty where there is none.

    Args:
        cells: Texts or lists. Brackets and quotes around are left out, as of `['dog', 'beach']`.
        separator: The sign; None takes the one that most cells have, or `#` of hashtags.
    """
    bare = [re.sub(r"^[\[({]|[\])}]$", "", c.strip()) if isinstance(c, str) else c for c in cells]
    if separator is None:
        separator = _sign_between_tags([cell for cell in bare if isinstance(cell, str)])
    return [_tags(cell, separator) for cell in bare], separator


def _sign_between_tags(cells: Sequence[str]) -> str:
    if any(cells) and all(cell[:1] in ("", "#") for cell in cells):
        return "#"
    counts = {sign: sum(sign in cell for cell in cells) for sign in _SIGNS}
    best = max(counts, key=lambda sign: counts[sign])
    return best if counts[best] else ""


def _tags(cell: Cell, separator: str) -> list[str]:
    parts = cell
    if isinstance(parts, str):
        parts = parts.split(separator) if separator else [parts]
    if separator == "#":
        parts = [part.strip(" ,;\t\n") for part in parts]
    return [tag for tag in map(clean_tag, parts) if tag]


def clean_tag(text: str) -> str:
    """A tag without quotes around it and without double spaces."""
    return " ".join(text.strip().strip("'\"").split())
