"""Predictions as text, written picture by picture."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TextIO

from zsl.errors import InputError, require
from zsl.files.atomic import atomic_path
from zsl.inference.prediction import Prediction

Writer = Callable[[Path, Prediction], object]


@contextmanager
def opened(path: Path | None) -> Iterator[TextIO]:
    """Yields a file that becomes `path` when the block succeeds; None is standard output.

    A link stays one, and a device or pipe is written to as it is.

    Raises:
        InputError: Nothing can be written there; it is tried at once.
    """
    if path is None:
        with _standard_output() as file:
            yield file
        return
    require(not os.path.isdir(path), f"The output {path} is a folder; expected the name of a file.")
    is_special = os.path.exists(path) and not os.path.isfile(path)
    with ExitStack() as stack:
        try:
            with suppress(FileNotFoundError):
                os.lstat(path)  # Refuses a name that is too long.
            whole = nullcontext(path) if is_special else atomic_path(Path(os.path.realpath(path)))
            place = stack.enter_context(whole)
            file = stack.enter_context(place.open("w", encoding="utf-8", newline=""))
        except OSError as error:
            raise InputError(
                f"The output {path} can't be written ({error.strerror}); name another file."
            ) from error
        yield file


@contextmanager
def _standard_output() -> Iterator[TextIO]:
    require(sys.stdout is not None, "There is no standard output; name a file with --output.")
    try:
        yield sys.stdout
    except UnicodeEncodeError as error:
        raise InputError(
            f"Standard output is {error.encoding}, which has no {error.object[error.start]!r}; "
            "name a file with --output, or set PYTHONIOENCODING to utf-8."
        ) from error


def make_writer(kind: str, file: TextIO, paths: Sequence[Path]) -> Writer:
    """Returns what writes the labels of a picture.

    Args:
        kind: `table`: a line for each picture; `csv`: image, rank, label, score, a line for each
            label; `jsonl`: an object for each picture.
        file: Written to.
        paths: Of all pictures, for the width of the table.
    """
    if kind == "csv":
        return _csv_writer(file)
    if kind == "jsonl":
        return _jsonl_writer(file)
    return _table_writer(file, min(60, max(len(_text(path)) for path in paths)))


def _table_writer(file: TextIO, width: int) -> Writer:
    def write(path: Path, prediction: Prediction) -> None:
        pairs = zip(prediction.labels, prediction.scores, strict=True)
        labels = ", ".join(f"{label} {score:.3f}" for label, score in pairs)
        print(f"{_text(path):<{width}}  {labels or '-'}", file=file)

    return write


def _csv_writer(file: TextIO) -> Writer:
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["image", "rank", "label", "score"])

    def write(path: Path, prediction: Prediction) -> None:
        for rank, (label, score) in enumerate(zip(*prediction, strict=True), 1):
            rows.writerow([_text(path), rank, label, f"{score:.6g}"])

    return write


def _jsonl_writer(file: TextIO) -> Writer:
    def write(path: Path, prediction: Prediction) -> None:
        labels = [
            {"label": label, "score": float(f"{score:.6g}")}
            for label, score in zip(*prediction, strict=True)
        ]
        print(json.dumps({"image": _text(path), "labels": labels}, ensure_ascii=False), file=file)

    return write


def _text(path: Path) -> str:
    """The path in characters that can be written; file names may be any bytes."""
    return os.fsencode(path).decode("utf-8", "replace")
