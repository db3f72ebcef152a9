"""Lists of label names: text files with a name a line, and what users write on a command line."""

from __future__ import annotations

import json
import logging
import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from zsl.errors import InputError, others, reason_of, refuse_repeated, require
from zsl.files.tables import read_table, row_name
from zsl.files.text_files import looks_like_json, read_text

_log = logging.getLogger(__name__)

_TABLES = (".csv", ".tsv", ".parquet")
_EXPECTED = "a text file, UTF-8, with a name a line"


def read_lines(path: Path) -> list[str]:
    """Reads a list of names: its lines stripped, without blank ones at the end.

    Raises:
        InputError: The file can't be read.
    """
    return [line.strip() for line in read_text(path, _EXPECTED).rstrip().splitlines()]


def read_labels(text: str, source: str = "--labels") -> list[str]:
    """Reads names with commas between them, or those of a file.

    A file is a text with a name a line, blank ones left out; a JSON list; or a CSV or Parquet file
    with the column `name`.

    Args:
        text: A file if it ends as one does, or is the path of one.
        source: Where the text comes from, for messages.

    Raises:
        InputError: The file can't be read, there is no label, or one is empty or there twice.
    """
    if text.lower().endswith((".txt", ".json", *_TABLES)) or os.path.isfile(text):
        labels = _read_file(Path(text))
        require(len(labels) > 0, f"The file {text} has no label in it; expected {_EXPECTED}.")
    else:
        names = enumerate(text.split(","), 1)
        labels = {f"{source}, label {number}": name.strip() for number, name in names}
    if empty := [where for where, name in labels.items() if not name]:
        raise InputError(f"{empty[0]} is empty; name a label, or take it out." + others(empty))
    if cut := [where for where, name in labels.items() if not _is_text(name)]:
        name = labels[cut[0]]
        raise InputError(f"{cut[0]}: {name!r} is not UTF-8; write it as UTF-8." + others(cut))
    refuse_repeated(labels.values(), [*labels].__getitem__)
    report_look_alikes(labels.values(), source)
    return list(labels.values())


def _read_file(path: Path) -> dict[str, str]:
    """Reads the names of a file, each by where it was found."""
    if path.suffix.lower() in _TABLES:
        names = read_table(path, ("name",))["name"]
        return {row_name(path, row): name for row, name in enumerate(names)}
    text = read_text(path, _EXPECTED)
    if looks_like_json(text):
        return {f"{path}, element {n}": name for n, name in enumerate(_parse_json(path, text), 1)}
    lines = {f"{path}, line {n}": line.strip() for n, line in enumerate(text.splitlines(), 1)}
    labels = {where: line for where, line in lines.items() if line}
    for sign in (",", ";", "\t", "- "):
        counts = {line.count(sign) for line in labels.values()}
        require(
            len(counts) != 1 or counts == {0},
            f"Each line of {path} has {sign!r} in it, as those of another format have; expected a "
            "name a line, a CSV (.csv) with a column name, or a JSON list of names.",
        )
    return labels


def _parse_json(path: Path, text: str) -> list[str]:
    try:
        names = json.loads(text)
    except ValueError as error:
        raise InputError(
            f"{path} begins as JSON does, but can't be read as such: {reason_of(error)}."
        ) from error
    require(
        isinstance(names, list) and all(isinstance(name, str) for name in names),
        f'{path} is JSON, but not a list of names; expected one, such as ["dog", "beach"].',
    )
    return [name.strip() for name in names]


def report_look_alikes(names: Iterable[str], source: str) -> None:
    """Logs names that differ in case, spaces or the encoding of accents only."""
    first: dict[str, str] = {}
    for name in names:
        key = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
        if first.setdefault(key, name) != name:
            _log.warning(
                "%s: %r and %r differ in case or spaces only; each counts as a label of its own.",
                source,
                first[key],
                name,
            )


def _is_text(name: str) -> bool:
    """Whether the bytes of the command line were characters."""
    return not any("\ud800" <= character <= "\udfff" for character in name)
