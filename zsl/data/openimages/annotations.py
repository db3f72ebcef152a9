"""Verified labels: from a CSV of millions of rows to sorted blocks, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv
from tqdm import tqdm

from zsl.data.sparse_targets import TargetBlock
from zsl.errors import InputError, reason_of, require

_COLUMNS = {
    "ImageID": pa.string(),
    "Source": pa.string(),
    "LabelName": pa.string(),
    "Confidence": pa.float32(),
}
_BLOCK = 4 << 20
"""Bytes of the file that are read at a time."""
_RECORD = np.dtype([("image", "<u8"), ("label", "<u4")])
"""An image's number, and four times the column of a label, and more for what was found."""
_DIGITS = np.full(256, 255, np.uint8)
_DIGITS[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)


def image_numbers(names: pa.Array) -> np.ndarray:
    """Returns the numbers that ImageIDs, 16 hexadecimal digits, are: uint64 (N,).

    Raises:
        InputError: One is something else.
    """
    if not len(names):
        return np.empty(0, np.uint64)
    plain = names.cast(pa.binary())
    _, offsets, content = plain.buffers()
    ends = np.frombuffer(offsets, np.int32)[plain.offset : plain.offset + len(plain) + 1]
    wrong = np.flatnonzero(np.diff(ends) != 16)  # So are those that are null.
    if not len(wrong):
        text = np.frombuffer(content, np.uint8)[ends[0] : ends[-1]]
        digits = _DIGITS[text].reshape(-1, 16)
        wrong = np.flatnonzero((digits > 15).any(axis=1))
    if len(wrong):
        raise InputError(
            f"The ImageID {names[int(wrong[0])].as_py()!r} is not 16 hexadecimal digits."
        )
    pairs = digits[:, 0::2] << 4 | digits[:, 1::2]
    return np.ascontiguousarray(pairs).view(">u8")[:, 0].astype(np.uint64)


def sorted_annotations(
    path: Path, ids: Sequence[str], folder: Path
) -> Iterator[tuple[np.ndarray, TargetBlock]]:
    """Reads the annotations of a split; those of labels that are not asked for are left out.

    The rows go to a file for each first digit of the ImageIDs, of which one after another is
    sorted. Of two findings about one label of an image that of the in-house annotators counts, not
    the crowd's; of two of these, that it is present.

    Args:
        path: A CSV with the columns ImageID, Source, LabelName and Confidence.
        ids: The LabelNames of the L labels.
        folder: For temporary files.

    Yields:
        The numbers of images, uint64 (N,), ascending, and their targets.

    Raises:
        InputError: The file can't be read, or a row of it is wrong.
    """
    names = [folder / f"{digit:x}" for digit in range(16)]
    with ExitStack() as stack:
        files = [stack.enter_context(name.open("wb")) for name in names]
        for records in _records(path, pa.array(ids)):
            digits = (records["image"] >> np.uint64(60)).astype(np.intp)
            for digit in np.unique(digits):
                files[digit].write(records[digits == digit].tobytes())
    require(
        any(name.stat().st_size for name in names),
        f"{path} has no row for one of the {len(ids):,} labels; take the annotations and the list "
        "of labels of one version.",
    )
    for name in names:
        records = np.fromfile(name, _RECORD)
        name.unlink()
        if len(records):
            yield _block(records[np.lexsort((records["label"], records["image"]))])


def _block(records: np.ndarray) -> tuple[np.ndarray, TargetBlock]:
    """Makes a block of sorted records, the last of which counts for its image and label."""
    image, column = records["image"], records["label"] // 4
    is_last = np.append((image[1:] != image[:-1]) | (column[1:] != column[:-1]), True)
    image, column = image[is_last], column[is_last]
    images, counts = np.unique(image, return_counts=True)
    present = (records["label"][is_last] % 2).astype(np.int8)
    unknown = np.full(len(images), -1, np.int8)
    return images, TargetBlock(counts, unknown, column.astype(np.uint16), present)


def _records(path: Path, ids: pa.Array) -> Iterator[np.ndarray]:
    """Yields the rows of the labels asked for, a part of the file at a time."""
    read = csv.ReadOptions(block_size=_BLOCK)
    convert = csv.ConvertOptions(include_columns=list(_COLUMNS), column_types=_COLUMNS)
    try:
        with (
            csv.open_csv(path, read_options=read, convert_options=convert) as batches,
            tqdm(desc=f"reading {path.name}", unit=" rows", unit_scale=True, delay=1) as progress,
        ):
            for batch in batches:
                progress.update(len(batch))
                yield _records_of(path, batch, ids)
    except (pa.ArrowException, KeyError, OSError) as error:
        raise InputError(
            f"{path} can't be read ({reason_of(error)}); expected a CSV with the columns "
            f"{', '.join(_COLUMNS)}."
        ) from error


def _records_of(path: Path, batch: pa.RecordBatch, ids: pa.Array) -> np.ndarray:
    confidence = batch["Confidence"].to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero((confidence != 0) & (confidence != 1))
    if len(wrong):
        raise InputError(
            f"{path} has the confidence {confidence[wrong[0]]:g}; expected 1 for a label verified "
            "as present and 0 for absent: labels made by a machine are not used, take the file of "
            "human-verified ones."
        )
    batch = batch.append_column("column", pc.index_in(batch["LabelName"], ids))
    batch = batch.filter(pc.is_valid(batch["column"]))
    records = np.empty(len(batch), _RECORD)
    try:
        records["image"] = image_numbers(batch["ImageID"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    in_house = pc.equal(batch["Source"], "verification").fill_null(False)
    records["label"] = batch["column"].to_numpy() * 4
    records["label"] += 2 * in_house.to_numpy(zero_copy_only=False).astype(np.uint32)
    records["label"] += batch["Confidence"].to_numpy().astype(np.uint32)
    return records
