"""Paths and objects as text that can be written and shown, and where it must not be written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from zsl.errors import printable, require


def path_text(path: object) -> str:
    """Returns a path in characters that can be written; file names may be any bytes."""
    return os.fsencode(str(path)).decode("utf-8", "replace")


def aligned(cells: Sequence[Sequence[str]], num_left: int) -> str:
    """Rows of cells as text, the first columns aligned to the left and the others to the right."""
    columns = []
    for position, column in enumerate(zip(*cells, strict=True)):
        shown = [printable(cell) for cell in column]
        width = max(map(len, shown))
        columns.append([f"{cell:{'<' if position < num_left else '>'}{width}}" for cell in shown])
    return "\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True))


def json_text(content: dict[str, Any]) -> str:
    """Returns a JSON object in a line that a terminal shows and does not obey."""
    text = json.dumps(content, ensure_ascii=False)
    # As \u001b, which means the same.
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def check_not_read(output: str | None, read: Iterable[str | Path | None]) -> None:
    """Refuses to write over what is read, and over any image.

    Args:
        output: The file to write, if any.
        read: Files that are read; None and what is not there don't count.

    Raises:
        InputError: It is one of them, or an image.
    """
    if not output or not os.path.exists(output):
        return
    for path in read:
        require(
            path is None or not os.path.exists(path) or not os.path.samefile(path, output),
            f"The output {output} is {path}, which is read; name another file for --output.",
        )
    from zsl.files.images import SUFFIXES  # Here, so that the help comes at once.

    require(
        Path(output).suffix.lower() not in SUFFIXES,
        f"The output {output} is an image, which this would overwrite; name another file for "
        "--output (of a pattern such as *.jpg it takes the first file).",
    )
