"""`python -m zsl.predict --checkpoint C --labels "dog, beach" PATHS`: tags images."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jsonargparse import ArgumentParser, Namespace

from zsl.commands.exit_codes import add_trust_code, exit_code, loading
from zsl.commands.launch import add_devices, launch
from zsl.commands.messages import parse_args
from zsl.commands.tagger_arguments import add_checkpoint, add_labels
from zsl.errors import InputError, listing, program, require
from zsl.files.folders import folder_for_results
from zsl.files.label_lists import read_labels
from zsl.files.output_text import check_not_read
from zsl.notes import is_quiet, note

if TYPE_CHECKING:
    from zsl.commands.tagging import Tagging
    from zsl.inference.batch_predictor import BatchPredictor
    from zsl.inference.output_formats import Writer
    from zsl.inference.scorer import PreparedLabels
    from zsl.inference.tagger import Tagger
    from zsl.process_group import ProcessGroup

_MOST_SHOWN = 20


def parse(args: list[str]) -> Namespace:
    """Reads the command line."""
    parser = ArgumentParser(
        prog=program("predict"), description="Tag images with any labels.", exit_on_error=False
    )
    parser.add_argument(
        "paths", nargs="+", help="Images, folders of images, and patterns such as 'photos/*.jpg'."
    )
    add_checkpoint(parser)
    add_labels(parser, default="the checkpoint's")
    _add_output(parser)
    _add_selection(parser)
    parser.add_argument("--batch_size", type=int, default=32, help="Images per batch.")
    parser.add_argument(
        "--heatmaps",
        type=str | None,
        help="Folder for images that show what in them speaks for each predicted label.",
    )
    add_devices(parser)
    add_trust_code(parser)
    return parse_args(parser, args)


def _add_output(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--format",
        type=Literal["table", "csv", "jsonl", "parquet"],
        default="table",
        help="A line per image, a line per label, a JSON object per image, or Parquet files with a "
        "row per image.",
    )
    parser.add_argument(
        "--output",
        type=str | None,
        help="File that appears when all is written (default: standard output); with parquet or "
        "--images_per_part, a folder of parts: a run that was stopped or killed goes on there.",
    )
    parser.add_argument(
        "--images_per_part",
        type=int | None,
        help="Images in each part of the folder --output, for parquet and jsonl (default with "
        "parquet: 10000).",
    )


def _add_selection(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--top_k",
        type=int | None,
        help="Most labels per image (default: 5; with --threshold, all that reach it).",
    )
    parser.add_argument("--threshold", type=float | None, help="Lowest score of a label.")
    parser.add_argument(
        "--decide",
        type=str | None,
        help="Keeps the labels that reach their own thresholds, chosen for f1, the best F1, or for "
        "example precision=0.9; images unlike those of the training get none.",
    )
    parser.add_argument(
        "--raw",
        type=bool,
        default=False,
        help="Gives the model's own scores in place of calibrated probabilities.",
    )


def predict(args: list[str]) -> None:
    """Tags images; whatever can be refused is refused before the first image is read."""
    options = parse(args)
    require(options.batch_size >= 1, f"--batch_size is {options.batch_size}; expected 1 or more.")
    in_parts = options.format == "parquet" or options.images_per_part is not None
    if in_parts:
        _check_parts(options)
    labels = None if options.labels is None else read_labels(options.labels)
    require(
        options.texts is None or labels is not None,
        "--texts gives texts to new labels, but --labels names none; add it, or leave --texts out.",
    )
    require(
        options.decide is None or options.checkpoint != "ready",
        "The ready tagger only ranks, so it has no thresholds for --decide; name the --checkpoint "
        "of a training, or leave --decide out.",
    )
    # Imported here, so that the help comes at once.
    from zsl.files.image_paths import ImageListing, find_images

    paths = [] if in_parts else find_images(options.paths)
    group = launch(options)
    with loading():
        from zsl.commands.predict_parts import write_parts
        from zsl.commands.tagging import Tagging
        from zsl.inference.heat_maps import common_folder
        from zsl.inference.output_formats import make_writer, open_output

    if not group.is_first:
        tagging = Tagging(_predictor(options, labels, group), options, group)
        deque(tagging.rows(()), maxlen=0)
        return
    if in_parts:
        images = ImageListing(options.paths)
        next(iter(images))  # Refuses a folder without images before the tagger is loaded.
        write_parts(images, Tagging(_predictor(options, labels, group), options, group))
        return
    check_not_read(options.output, (options.checkpoint, options.labels, options.texts, *paths))
    output, root = Path(options.output) if options.output else None, common_folder(paths)
    with _heat_map_folder(options.heatmaps, root), open_output(output) as file:
        tagging = Tagging(_predictor(options, labels, group), options, group, root)
        tag_files(paths, tagging, make_writer(options.format, file, paths))
        file.flush()


def _check_parts(options: Namespace) -> None:
    """Refuses options that don't go with a folder of parts."""
    require(
        options.format in ("parquet", "jsonl"),
        f"--images_per_part makes a folder of parts, but --format is {options.format}; take "
        "parquet or jsonl, or leave it out.",
    )
    require(
        bool(options.output),
        "A folder of parts is to be written, but --output is not set; name one.",
    )
    require(
        options.images_per_part is None or options.images_per_part >= 1,
        f"--images_per_part is {options.images_per_part}; expected 1 or more.",
    )
    require(
        options.heatmaps is None,
        "--heatmaps does not go with a folder of parts; leave it out, or write a single file.",
    )


def _predictor(options: Namespace, labels: list[str] | None, group: ProcessGroup) -> BatchPredictor:
    """Loads the tagger; says which labels are unlike all that it was trained on."""
    from zsl.inference.batch_predictor import BatchPredictor

    limits = (options.top_k, options.threshold, options.decide)
    rest = (options.raw, options.trust_code, group.device)
    with loading("the tagger"), group.first_goes_ahead():
        predictor = BatchPredictor(options.checkpoint, labels, options.texts, *limits, *rest)
        if options.heatmaps is not None:
            predictor.tagger.check_heat_maps()
    if group.is_first:
        report_unlike_labels(predictor.tagger, predictor.names, predictor.prepared)
        if options.decide is not None:
            _report_out_of_reach(predictor.names, predictor.prepared, options.decide)
    return predictor


def tag_files(paths: list[Path], tagging: Tagging, write: Writer) -> None:
    """Tags files batch by batch; no more than a few batches are in memory.

    Args:
        paths: Image files.
        tagging: Tags them.
        write: Called with the path and the prediction of each readable image, and whether it is
            unlike those of the training.

    Raises:
        InputError: No image can be read.
    """
    from tqdm import tqdm

    from zsl.inference.prediction import Prediction
    from zsl.inference.scorer import unlike_images

    problems: list[str] = []
    unlike: list[Path] = []
    lines_show_progress = tagging.options.output is None and sys.stdout.isatty()
    is_hidden = lines_show_progress or is_quiet()
    left = iter(paths)
    with tqdm(total=len(paths), unit=" images", delay=2, disable=is_hidden) as progress:
        for rows in tagging.rows([paths]):
            progress.update(len(rows))
            for row, path in zip(rows, left, strict=False):
                if row.error is not None:
                    problems.append(row.error)
                    continue
                if row.unlike_training_images:
                    unlike.append(path)
                write(path, Prediction(row.labels, row.scores), row.unlike_training_images)
    _report_problems(problems, len(paths))
    if unlike:
        text = unlike_images(len(unlike), len(paths) - len(problems))
        note(f"{text} The first is {unlike[0]}.")


def report_unlike_labels(tagger: Tagger, names: list[str], prepared: PreparedLabels) -> None:
    """Says which labels are unlike all that the tagger was trained on."""
    answers = prepared.answers
    if answers is None or not answers.is_unlike.any():
        return
    unlike = answers.is_unlike.nonzero().flatten().tolist()
    shown = ", ".join(
        f"{listing([names[index]])} (most like "
        f"{tagger.vocabulary.names[answers.nearest[index]]}, {answers.similarity[index]:.2f})"
        for index in unlike[:_MOST_SHOWN]
    )
    more = f" and {len(unlike) - _MOST_SHOWN:,} more" if len(unlike) > _MOST_SHOWN else ""
    note(
        f"no label that the tagger was trained on is like {shown}{more}; what it says about these "
        "is less sure than their probabilities tell."
    )


def _report_out_of_reach(names: list[str], prepared: PreparedLabels, goal: str) -> None:
    """Says which labels no image can get, since no probability is enough."""
    answers = prepared.answers
    if answers is None:
        return
    never = [names[index] for index in (answers.thresholds > 1).nonzero().flatten().tolist()]
    if never:
        note(
            f"no image gets {listing(never)}: on the validation images no threshold for such "
            f"labels reached {goal}."
        )


@contextmanager
def _heat_map_folder(folder: str | None, root: str) -> Iterator[None]:
    """Makes the folder, if one is asked for; an empty one is removed if the block fails."""
    with ExitStack() as stack:
        if folder is not None:
            try:
                stack.enter_context(folder_for_results(Path(folder)))
            except OSError as error:
                raise InputError(
                    f"The folder {folder} can't be made ({error.strerror}); name another for "
                    "--heatmaps."
                ) from error
            require(
                not os.path.samefile(folder, root),
                f"The folder {folder} holds the images themselves; name another for --heatmaps.",
            )
        yield


def _report_problems(problems: list[str], num_images: int) -> None:
    """Lists the images that were skipped.

    Raises:
        InputError: All were.
    """
    if not problems:
        return
    if len(problems) == num_images:
        more = f"None of the {num_images:,} images can be read; the first: "
        raise InputError((more if num_images > 1 else "") + problems[0])
    print(f"{len(problems):,} of {num_images:,} images were skipped:", file=sys.stderr)
    for problem in problems:
        print(f"  {problem}", file=sys.stderr)


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return exit_code(predict, args)
