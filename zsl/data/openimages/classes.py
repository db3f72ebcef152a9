"""The labels of a version: LabelNames, names and roles."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np

from zsl.data.openimages.source_files import SourceFiles
from zsl.errors import InputError, listing, others, refuse_repeated, require
from zsl.files.safe_pickle import read_pickled_arrays
from zsl.files.text_files import read_text
from zsl.labels import Role


@dataclass(frozen=True)
class Classes:
    """The L labels, in the order of the lists."""

    ids: list[str]
    """LabelNames: `/m/01g317`."""
    names: list[str]
    """What they are called; of labels that are called alike, with their LabelName."""
    roles: list[Role]
    aliases: dict[str, str]
    """What the latter are called without it, for encoders that look words up."""


def read_classes(files: SourceFiles) -> Classes:
    """Reads the labels of a version.

    Raises:
        InputError: A list is wrong, or a label has no name.
    """
    seen = read_text(files.classes, "a LabelName a line").split()
    refuse_repeated(seen, lambda index: f"{files.classes}, line {index + 1}")
    require(len(seen) > 0, f"{files.classes} is empty; expected a LabelName a line.")
    unseen = _read_unseen(*files.unseen) if files.unseen else []
    if both := sorted(set(seen) & set(unseen)):
        raise InputError(f"{files.unseen[0]}: {both[0]} is seen, by {files.classes}.{others(both)}")
    ids = [*seen, *unseen]
    descriptions = _read_descriptions(files.descriptions)
    if nameless := [name for name in ids if not descriptions.get(name)]:
        raise InputError(
            f"The label {nameless[0]} has no name in {files.descriptions}; take that file and the "
            f"lists of labels of one version.{others(nameless)}"
        )
    names = [descriptions[name] for name in ids]
    times = Counter(names)
    unique = [
        f"{name} ({label})" if times[name] > 1 else name
        for name, label in zip(names, ids, strict=True)
    ]
    roles = [Role.SEEN] * len(seen) + [Role.UNSEEN] * len(unseen)
    pairs = zip(unique, names, strict=True)
    return Classes(ids, unique, roles, {name: alias for name, alias in pairs if name != alias})


def _read_descriptions(path: Path) -> dict[str, str]:
    """Reads LabelName and DisplayName; V6's file has a header, V4's has none."""
    rows = list(csv.reader(StringIO(read_text(path, "a CSV file of LabelName and DisplayName"))))
    if wrong := [line for line, row in enumerate(rows, 1) if row and len(row) != 2]:
        raise InputError(
            f"{path}, line {wrong[0]} has {len(rows[wrong[0] - 1])} cells; expected LabelName and "
            "DisplayName."
        )
    return {row[0].strip(): row[1].strip() for row in rows if row}


def _read_unseen(labels: Path, chosen: Path) -> list[str]:
    """Reads the unseen labels: of those in a pickle the ones whose positions a list has."""
    found = np.asarray(read_pickled_arrays(labels), dtype=object).ravel().tolist()
    if wrong := [str(name) for name in found if not isinstance(name, str)]:
        raise InputError(f"{labels} holds {listing(wrong)}; expected LabelNames.")
    lines = read_text(chosen, "a position a line").split()
    refuse_repeated(lines, lambda index: f"{chosen}, line {index + 1}")
    for number, line in enumerate(lines, 1):
        require(
            line.isdecimal() and int(line) < len(found),
            f"{chosen}, line {number}: {line!r} is not one of the positions 0 to "
            f"{len(found) - 1} in {labels}.",
        )
    return [found[int(line)] for line in lines]
