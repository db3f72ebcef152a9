"""Labels as the user of a command names them."""

from __future__ import annotations

import os
from pathlib import Path

from zsl.errors import InputError, require


def read_labels(text: str, source: str = "--labels") -> list[str]:
    """Reads names with commas between them, or the lines of a text file but for blank ones.

    Args:
        text: A file if it ends in .txt, or is the path of one.
        source: Of the text, for messages.

    Raises:
        InputError: The file can't be read, there is no label, or one is empty or there twice.
    """
    if text.lower().endswith(".txt") or os.path.isfile(text):
        places = _lines(Path(text))
        require(len(places) > 0, f"The file {text} has no label in it; expected one a line.")
    else:
        names = [name.strip() for name in text.split(",")]
        places = [(f"{source}, label {number}", name) for number, name in enumerate(names, 1)]
    first_place: dict[str, str] = {}
    for place, name in places:
        require(name != "", f"{place} is empty; name a label, or take it out.")
        require(_is_text(name), f"{place}: {name!r} is no UTF-8; write it as UTF-8.")
        require(
            name not in first_place,
            f"{place}: {name!r} is there twice, first at {first_place.get(name)}; keep one of "
            "them.",
        )
        first_place[name] = place
    return list(first_place)


def _is_text(name: str) -> bool:
    """Whether the bytes of the command line were characters."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _lines(path: Path) -> list[tuple[str, str]]:
    """Lines that are not blank, each after its place."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The list of labels {path} can't be read ({error}); expected a text file, UTF-8, "
            "with a label a line."
        ) from error
    stripped = [(f"{path}, line {number}", line.strip()) for number, line in enumerate(lines, 1)]
    return [(place, name) for place, name in stripped if name]
