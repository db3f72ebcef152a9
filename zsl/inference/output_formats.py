"""Predictions as text, written image by image."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from stat import S_ISREG
from typing import Any, TextIO

from zsl.errors import InputError, printable, require
from zsl.files.atomic import atomic_path
from zsl.files.output_text import json_text, path_text
from zsl.inference.prediction import Prediction

Writer = Callable[[Path, Prediction, bool], object]
"""Takes an image, its labels, and whether it is unlike the images of the training."""


@contextmanager
def open_output(path: Path | None) -> Iterator[TextIO]:
    """Yields a file that becomes `path` when the block succeeds; None is standard output.

    Pipes and devices, such as those of `>(gzip > tags.gz)`, are written to directly.

    Raises:
        InputError: Nothing can be written there, which is tried at once; or standard output lacks
            a character.
    """
    if path is None:
        with _standard_output() as file:
            yield file
        return
    is_file = True
    with ExitStack() as stack:
        try:
            with suppress(FileNotFoundError):
                is_file = S_ISREG(path.stat().st_mode)
            # Of a link, the target is replaced: /dev/stdout may be a link to a file.
            target = atomic_path(path.resolve()) if is_file else nullcontext(path)
            opened = stack.enter_context(target).open("w", encoding="utf-8", newline="")
            file = stack.enter_context(opened)
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
    """Returns a function that writes the labels of an image.

    What a terminal may obey is escaped in the table, and in CSV where it goes to one; JSON has its
    own way to write it.

    Args:
        kind: `table`: a line for each image; `csv`: image, rank, label, score, a line for each
            label; `jsonl`: an object for each image.
        file: Written to.
        paths: All images, for the width of the table.
    """
    if kind == "csv":
        return _csv_writer(file)
    if kind == "jsonl":
        return _jsonl_writer(file)
    return _table_writer(file, min(60, max(len(printable(path_text(path))) for path in paths)))


def _table_writer(file: TextIO, width: int) -> Writer:
    def write_line(path: Path, prediction: Prediction, is_unlike: bool) -> None:
        pairs = zip(*prediction, strict=True)
        labels = ", ".join(f"{label} {score:.3f}" for label, score in pairs)
        note = "  (unlike the training images)" if is_unlike else ""
        print(f"{printable(path_text(path)):<{width}}  {printable(labels) or '-'}{note}", file=file)

    return write_line


def _csv_writer(file: TextIO) -> Writer:
    shown = printable if file.isatty() else str
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["image", "rank", "label", "score"])

    def write_rows(path: Path, prediction: Prediction, is_unlike: bool) -> None:
        for rank, (label, score) in enumerate(zip(*prediction, strict=True), 1):
            rows.writerow([shown(path_text(path)), rank, shown(label), f"{score:.6g}"])

    return write_rows


def _jsonl_writer(file: TextIO) -> Writer:
    def write_object(path: Path, prediction: Prediction, is_unlike: bool) -> None:
        print(json_line(path_text(path), prediction, is_unlike), file=file)

    return write_object


def json_line(
    image: str, prediction: Prediction, is_unlike: bool = False, error: str | None = None
) -> str:
    """Returns an image and its labels as a JSON object in a line.

    Args:
        image: Its path.
        prediction: Its labels.
        is_unlike: Whether it is unlike the images of the training.
        error: Why it can't be read.
    """
    labels = [
        {"label": label, "score": float(f"{score:.6g}")}
        for label, score in zip(*prediction, strict=True)
    ]
    content: dict[str, Any] = {"image": image, "labels": labels}
    if is_unlike:
        content["unlike_training_images"] = True
    if error is not None:
        content["error"] = error
    return json_text(content)
