"""The text files of NUS-WIDE: lists of names, lists of images, tables of labels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix, vstack

from zsl.data.nuswide.image_names import normalise
from zsl.errors import InputError, refuse_repeated
from zsl.files.label_lists import read_lines

_ROWS_AT_ONCE = 8192


def read_names(path: Path) -> list[str]:
    """Reads a list of names, all different.

    Raises:
        InputError: The file is empty or not UTF-8, or a line is blank or there twice.
    """
    names = read_lines(path)
    if not names:
        raise InputError(f"{path} is empty; unpack it again.")
    if "" in names:
        raise InputError(f"{path}, line {names.index('') + 1} is blank; expected a name a line.")
    refuse_repeated(names, lambda row: f"{path}, line {row + 1}")
    return names


def read_image_list(path: Path) -> list[str]:
    """Reads a list of images, with `/` as separator.

    Raises:
        InputError: An image is there twice, or the list can't be read.
    """
    return [normalise(line) for line in read_names(path)]


def read_both_lists(train: Path, test: Path) -> tuple[list[str], list[str]]:
    """Reads the images of training and test.

    Raises:
        InputError: An image is in both, or a list can't be read.
    """
    lists = read_image_list(train), read_image_list(test)
    refuse_repeated(
        lists[0] + lists[1],
        lambda row: (
            f"{train}, line {row + 1}"
            if row < len(lists[0])
            else f"{test}, line {row + 1 - len(lists[0])}"
        ),
    )
    return lists


def read_labels(path: Path, num_columns: int, images: Sequence[str], images_of: str) -> csr_matrix:
    """Reads a table of -1, 0 and 1, separated by white space, without a header.

    Args:
        path: The file, a row for each image. Where a row has one value more, the first is the
            image's Flickr id.
        num_columns: Labels a row.
        images: The images of the rows.
        images_of: The list they come from, for messages.

    Returns:
        int8 (len(images), num_columns), the values as they are.

    Raises:
        InputError: A row or a value is wrong, or there are too few or too many rows.
    """
    parts, num_rows = [], 0
    try:
        for values in _chunks(path):
            if values.shape[1] == num_columns + 1:
                _check_ids(path, values[:, 0], images[num_rows:], num_rows, images_of)
                values = values[:, 1:]
            if values.shape[1] != num_columns or values.min() < -1 or values.max() > 1:
                raise ValueError
            parts.append(csr_matrix(values.astype(np.int8)))
            num_rows += len(values)
    except (ValueError, OverflowError) as error:
        raise InputError(_first_mistake(path, num_columns)) from error
    if num_rows != len(images):
        raise InputError(
            f"{path} has {num_rows:,} rows; expected {len(images):,}, one for each image of "
            f"{images_of}."
        )
    return vstack(parts, format="csr", dtype=np.int8)


def _chunks(path: Path) -> Iterator[np.ndarray]:
    with path.open(encoding="latin-1") as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?i).*input.* contained no data")
        while True:
            values = np.loadtxt(file, np.int64, comments=None, max_rows=_ROWS_AT_ONCE, ndmin=2)
            if not len(values):
                return
            yield values


def _check_ids(
    path: Path, ids: np.ndarray, images: Sequence[str], start: int, images_of: str
) -> None:
    for row, (flickr_id, image) in enumerate(zip(ids, images, strict=False), start):
        if not image.endswith(f"_{flickr_id}.jpg"):
            raise InputError(
                f"{path}, row {row + 1} is of the Flickr id {flickr_id}, but row {row + 1} of "
                f"{images_of} is {image}; the two files don't belong together."
            )


def _first_mistake(path: Path, num_columns: int) -> str:
    """Reads line by line, which is slow, to say where the mistake is."""
    with path.open(encoding="latin-1") as file:
        for number, line in enumerate(file, 1):
            values = line.split()
            if len(values) == num_columns + 1:
                values = values[1:]
            if values and len(values) != num_columns:
                return f"{path}, line {number} has {len(values)} values; expected {num_columns}."
            for column, value in enumerate(values, 1):
                if value not in ("-1", "0", "1"):
                    return (
                        f"{path}, line {number}: value {column} is {value!r}; expected -1, 0 or 1."
                    )
    return f"{path} holds something else than -1, 0 and 1."


def as_targets(values: csr_matrix, source: str, notes: list[str]) -> csr_matrix:
    """Turns the values of a file into targets: 1 present, 0 absent, -1 unknown.

    In a file with a -1, annotators said "absent" with it and nothing with 0, and a note says so; in
    a file without, 0 means "absent".
    """
    num_absent = int((values.data < 0).sum())
    if not num_absent:
        return values
    notes.append(
        f"{source} has {num_absent:,} times -1 (absent), so each of its 0 counts as unknown."
    )
    dense = values.toarray()
    return csr_matrix((dense == 1).astype(np.int8) - (dense == 0))
