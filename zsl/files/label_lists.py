"""Lists of label names: text files with a name a line, and what users write on a command line."""

from __future__ import annotations

import os
from pathlib import Path

from zsl.errors import InputError, reason_of, refuse_repeated, require


def read_lines(path: Path) -> list[str]:
    """Reads a list of names, UTF-8: its lines stripped, without blank ones at the end.

    Raises:
        InputError: The file can't be read.
    """
    try:
        return [line.strip() for line in path.read_text("utf-8-sig").rstrip().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The list {path} can't be read ({reason_of(error)}); expected a text file, UTF-8, "
            "with a name a line."
        ) from error


def read_labels(text: str, source: str = "--labels") -> list[str]:
    """Reads names with commas between them, or the lines of a text file but for blank ones.

    Args:
        text: A file if it ends in .txt, or is the path of one.
        source: Where the text comes from, for messages.

    Raises:
        InputError: The file can't be read, there is no label, or one is empty or there twice.
    """
    if text.lower().endswith(".txt") or os.path.isfile(text):
        lines = enumerate(read_lines(Path(text)), 1)
        labels = {f"{text}, line {number}": line for number, line in lines if line}
        require(len(labels) > 0, f"The file {text} has no label in it; expected one a line.")
    else:
        names = enumerate(text.split(","), 1)
        labels = {f"{source}, label {number}": name.strip() for number, name in names}
    for where, name in labels.items():
        require(name != "", f"{where} is empty; name a label, or take it out.")
        require(_is_text(name), f"{where}: {name!r} is not UTF-8; write it as UTF-8.")
    refuse_repeated(labels.values(), [*labels].__getitem__)
    return list(labels.values())


def _is_text(name: str) -> bool:
    """Whether the bytes of the command line were characters."""
    return not any("\ud800" <= character <= "\udfff" for character in name)
