"""Which listed image is which file: the three ways in which NUS-WIDE's images are named."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# actor/0002_174174086.jpg, or with the folder in the name: actor_0002_174174086.jpg. A folder's
# name can hold "_" itself.
_OFFICIAL = re.compile(r"(?:(?P<folder>.+)_)?(?P<number>\d{4})_(?P<flickr_id>\d+)")
# 80002_2058923115_a0e2798162_m.jpg: the middle part is the Flickr id.
_ML_DECODER = re.compile(r"\d+_(?P<flickr_id>\d+)_[0-9a-f]{10}(?:_[a-z])?")
_BARE_ID = re.compile(r"(?P<flickr_id>\d{5,})")


def normalise(name: str) -> str:
    """Strips spaces, turns Windows separators into `/` and takes `./` and `//` out."""
    name = name.strip().replace("\\", "/")
    return name and posixpath.normpath(name)


def parse(name: str) -> tuple[str | None, str]:
    """Parses the name of an image.

    Args:
        name: A normalised path, in one of the three styles or any other.

    Returns:
        `folder/number_id` as in the official lists, or None if the name lacks a part of it; and the
        Flickr id, or the file's name if it has none.
    """
    parent, _, file = name.rpartition("/")
    stem = file.rsplit(".", 1)[0]
    if match := _OFFICIAL.fullmatch(stem):
        folder = match["folder"] or parent.rpartition("/")[2]
        key = f"{folder}/{match['number']}_{match['flickr_id']}" if folder else None
        return key, match["flickr_id"]
    match = _ML_DECODER.fullmatch(stem) or _BARE_ID.fullmatch(stem)
    return None, match["flickr_id"] if match else file


@dataclass(frozen=True)
class Match:
    """Where each wanted name was found."""

    position: np.ndarray
    """int64 (N,) into the available names; -1 where there is none."""
    num_ambiguous: int
    """How many wanted names have no match since their Flickr id or file name is not unique."""


def match(wanted: Sequence[str], available: Sequence[str]) -> Match:
    """Finds each wanted image among the available ones.

    By the path, else by folder, number and Flickr id, else by Flickr id (or file name) alone
    where that is unique on both sides. No available image is matched twice.

    Args:
        wanted: N normalised paths, all different.
        available: Normalised paths, all different.
    """
    wanted_parsed = [parse(name) for name in wanted]
    available_parsed = [parse(name) for name in available]
    by_path = {name: position for position, name in enumerate(available)}
    by_key = _unique([key for key, _ in available_parsed])
    by_id = _unique([flickr_id for _, flickr_id in available_parsed])
    wanted_ids = Counter(flickr_id for _, flickr_id in wanted_parsed)

    found = np.full(len(wanted), -1)
    taken: set[int] = set()
    num_ambiguous = 0
    for row, (name, (key, _)) in enumerate(zip(wanted, wanted_parsed, strict=True)):
        own = by_path.get(name, by_key.get(key, -1) if key else -1)
        if own in taken:
            num_ambiguous += 1  # The same image under two names.
        elif own >= 0:
            found[row] = own
            taken.add(own)
    for row in np.flatnonzero(found < 0).tolist():
        key, flickr_id = wanted_parsed[row]
        if key is not None and by_key.get(key, -1) in taken:
            continue
        position = by_id.get(flickr_id)
        if position is None:
            continue
        if position < 0 or wanted_ids[flickr_id] > 1 or position in taken:
            num_ambiguous += 1
        else:
            found[row] = position
    return Match(found, num_ambiguous)


def _unique(keys: Sequence[str | None]) -> dict[str, int]:
    """Position of each key; -1 for one that is there more than once."""
    positions: dict[str, int] = {}
    for position, key in enumerate(keys):
        if key is not None:
            positions[key] = -1 if key in positions else position
    return positions
