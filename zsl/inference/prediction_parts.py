"""A folder of predictions in numbered parts: killed at any moment, it has each image once.

It holds `_predictions.json`, what the predictions depend on, and parts `part-00000.parquet` (or
`.jsonl`) and so on, each written to a temporary name and then renamed. Which images are done is
read from the parts alone, so that the images of a part that is deleted are tagged once more. Other
readers of such folders pass over names that begin with `_` or `.`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
from pyarrow import parquet

from zsl.errors import InputError, listing, reason_of, require
from zsl.files.atomic import PREFIX, write_atomically
from zsl.files.digest_set import DigestSet
from zsl.files.folders import sole_writer
from zsl.inference.output_formats import json_line
from zsl.inference.prediction import Prediction
from zsl.inference.prediction_rows import Row, as_table
from zsl.versions import __version__

_log = logging.getLogger(__name__)

RECORD = "_predictions.json"
_LOCK = "_lock"

Kind = Literal["parquet", "jsonl"]


class Counts(NamedTuple):
    """Numbers of images."""

    images: int
    unreadable: int
    unlike: int
    """Unlike those of the training."""

    def plus(self, is_unlike: bool, error: str | None) -> Counts:
        """Counts another image."""
        return Counts(
            self.images + 1, self.unreadable + (error is not None), self.unlike + is_unlike
        )


class PredictionParts:
    """Parts of a folder, made by `open_parts`.

    Args:
        folder: It is there.
        kind: Format of the parts.
        images_per_part: Images in a part; the last of a run has the rest.

    Attributes:
        done: Paths of the images that were in the parts when they were opened.
        counts: What was added since, too.

    Raises:
        InputError: A part is damaged.
    """

    def __init__(self, folder: Path, kind: Kind, images_per_part: int) -> None:
        self.done = DigestSet()
        self.counts = Counts(0, 0, 0)
        self._folder = folder
        self._kind = kind
        self._images_per_part = images_per_part
        number = -1
        for path in sorted(folder.glob(f"part-[0-9]*.{kind}")):
            for image, is_unlike, error in _images_in(path):
                self.done.add(image)
                self.counts = self.counts.plus(is_unlike, error)
            number = max(number, int(path.stem.removeprefix("part-")))
        self._part = _Part(number + 1)

    def add(self, rows: Sequence[Row]) -> None:
        """Adds what was predicted for images that are not done; writes the part if it is full.

        Raises:
            OSError: It can't be written.
        """
        self._part.add(rows, self._kind)
        for row in rows:
            self.counts = self.counts.plus(row.unlike_training_images, row.error)
        if self._part.num_images >= self._images_per_part:
            self.write()

    def write(self) -> None:
        """Writes what was added and is not written yet, if anything is.

        Raises:
            OSError: It can't be written.
        """
        part = self._part
        if part.num_images:
            path = self._folder / f"part-{part.number:05d}.{self._kind}"
            # If Ctrl-C comes after this and before the next line, the same part is written again.
            write_atomically(path, part.content(self._kind))
            self._part = _Part(part.number + 1)


class _Part:
    """The rows of a part, encoded as they come: they take a fraction of the memory of objects."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._batches: list[tuple[int, Any]] = []

    @property
    def num_images(self) -> int:
        return self._batches[-1][0] if self._batches else 0

    def add(self, rows: Sequence[Row], kind: Kind) -> None:
        encoded = as_table(rows) if kind == "parquet" else _json_lines(rows)
        # With the number so far, so that wherever Ctrl-C comes it is right.
        self._batches.append((self.num_images + len(rows), encoded))

    def content(self, kind: Kind) -> bytes | memoryview:
        batches = [encoded for _, encoded in self._batches]
        if kind == "jsonl":
            return b"".join(batches)
        sink = pa.BufferOutputStream()
        parquet.write_table(pa.concat_tables(batches), sink)
        return memoryview(sink.getvalue())


@contextmanager
def open_parts(
    folder: Path, kind: Kind, images_per_part: int, depends_on: dict[str, Any]
) -> Iterator[PredictionParts]:
    """Yields the parts of a folder, which is made if needed; writes the last one in the end.

    That one is written if the block fails, too: what was done is kept.

    Args:
        folder: A new one, or one in which the same was begun.
        kind: Format of the parts.
        images_per_part: Images in a part.
        depends_on: What the predictions depend on, plain values.

    Raises:
        InputError: The folder holds something else or predictions that depend on something else, a
            part is damaged, or another process writes there.
        OSError: It can't be written.
    """
    is_new = not (folder / RECORD).is_file()
    if is_new:
        _check_empty(folder)
    folder.mkdir(parents=True, exist_ok=True)
    in_use = (
        f"The folder {folder} is being written by another process; wait for its end, or name "
        "another folder for --output."
    )
    with sole_writer(folder / _LOCK, in_use):
        if is_new and not (folder / RECORD).is_file():
            record = {"version": __version__, "format": kind, "depends_on": depends_on}
            write_atomically(folder / RECORD, json.dumps(record, indent=2).encode())
        _check_record(folder, kind, depends_on)
        parts = PredictionParts(folder, kind, images_per_part)
        try:
            yield parts
        finally:
            parts.write()


def _check_empty(folder: Path) -> None:
    require(
        not folder.exists() or folder.is_dir(),
        f"The output {folder} is a file; name a folder for --output, in which parts are written.",
    )
    # A process that was killed may have left these.
    found = [
        path.name
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path.name != _LOCK and not path.name.startswith(PREFIX)
    ]
    require(
        not found,
        f"The folder {folder} holds something else than predictions ({listing(sorted(found))}); "
        "name a folder for --output that does not exist.",
    )


def _check_record(folder: Path, kind: Kind, depends_on: dict[str, Any]) -> None:
    """Refuses other predictions than those that were begun."""
    path = folder / RECORD
    try:
        record = json.loads(path.read_bytes())
        found = {"format": record["format"], **record["depends_on"]}
        version = record["version"]
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"{path} is damaged; name another folder for --output, or delete this one."
        ) from error
    wanted = {"format": kind, **depends_on}
    different = [name for name in wanted if found.get(name) != wanted[name]]
    require(
        not different,
        f"The folder {folder} holds predictions with {_described(found, different)}, but this run "
        f"has {_described(wanted, different)}; give the same arguments as before, or name another "
        "folder for --output.",
    )
    if version != __version__:
        _log.warning(
            "note: the predictions in %s were begun with zsl %s; this is %s.",
            *(folder, version, __version__),
        )


def _described(values: dict[str, Any], names: Sequence[str]) -> str:
    return ", ".join(f"{name} {_shown(values.get(name))}" for name in names)


def _shown(value: Any) -> str:
    return listing(value) if isinstance(value, list) else str(value)


def _images_in(path: Path) -> Iterator[tuple[str, bool, str | None]]:
    """Yields of each image in a part its path, whether it is unlike others, and its error."""
    columns = ["image", "unlike_training_images", "error"]
    try:
        if path.suffix == ".parquet":
            for batch in parquet.ParquetFile(path).iter_batches(columns=columns):
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
            return
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                yield row["image"], "unlike_training_images" in row, row.get("error")
    except (OSError, ValueError, LookupError, TypeError, pa.ArrowException) as error:
        raise InputError(
            f"{path} can't be read ({reason_of(error)}); delete it, and its images are tagged once "
            "more."
        ) from error


def _json_lines(rows: Sequence[Row]) -> bytes:
    return "".join(
        json_line(row.image, Prediction(row.labels, row.scores), *row[3:]) + "\n" for row in rows
    ).encode()
