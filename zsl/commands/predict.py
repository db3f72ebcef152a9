"""`python -m zsl.predict --checkpoint C --labels "dog, beach" PATHS`: tags images."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from zsl.commands.exit_codes import add_trust_code, exit_code
from zsl.errors import InputError, did_you_mean, require
from zsl.files.label_lists import read_labels

if TYPE_CHECKING:
    from torch import Tensor

    from zsl.inference.output_formats import Writer
    from zsl.inference.prediction import Prediction
    from zsl.inference.tagger import Tagger

_FORMATS = ("table", "csv", "jsonl")


def parse(args: list[str]) -> Namespace:
    """Reads the command line."""
    parser = ArgumentParser(
        prog="python -m zsl.predict",
        description="Tag images with any labels.",
        exit_on_error=False,
    )
    parser.add_argument(
        "paths", nargs="+", help="Images, folders of images, and patterns such as 'photos/*.jpg'."
    )
    parser.add_argument(
        "--checkpoint",
        required=True,
        help="A .ckpt file of zsl.fit, or a folder or hub repository of Tagger.save_pretrained.",
    )
    parser.add_argument(
        "--labels",
        type=str | None,
        help="Separated by commas, or a text file with one a line (default: the checkpoint's).",
    )
    parser.add_argument("--format", default="table", help="table, csv or jsonl.")
    parser.add_argument(
        "--output", type=str | None, help="File to write to, whole or not at all (default: stdout)."
    )
    parser.add_argument(
        "--top_k",
        type=int | None,
        help="Most labels a picture gets (default: 5; with --threshold, all that reach it).",
    )
    parser.add_argument("--threshold", type=float | None, help="Least score of a label.")
    parser.add_argument("--batch_size", type=int, default=32, help="Pictures at a time.")
    parser.add_argument(
        "--heatmaps",
        type=str | None,
        help="Folder for pictures of where the decoder looked for the labels told.",
    )
    add_trust_code(parser)
    return parser.parse_args(args)


def predict(args: list[str]) -> int:
    """Tags images; what can be refused is, before the first is read."""
    options = parse(args)
    require(
        options.format in _FORMATS,
        f"--format is {options.format!r}; expected one of {', '.join(_FORMATS)}."
        + did_you_mean(options.format, _FORMATS),
    )
    require(options.batch_size >= 1, f"--batch_size is {options.batch_size}; expected 1 or more.")
    labels = None if options.labels is None else read_labels(options.labels)
    # Imported here, so that the help comes at once.
    from zsl.files.image_paths import find_images
    from zsl.inference.output_formats import make_writer, opened

    paths = find_images(options.paths)
    _check_output(options, paths)
    if options.heatmaps is not None:
        _make_folder(Path(options.heatmaps))
    with opened(Path(options.output) if options.output else None) as file:
        tag_files(paths, labels, options, make_writer(options.format, file, paths))
        file.flush()
    return 0


def _check_output(options: Namespace, paths: list[Path]) -> None:
    """Refuses to write over what is read."""
    output = options.output
    if not output or not os.path.exists(output):
        return
    for path in (options.checkpoint, options.labels or "", *paths):
        require(
            not os.path.exists(path) or not os.path.samefile(path, output),
            f"The output {output} is {path}, which is read; name another file for --output.",
        )


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"The folder {path} can't be made ({error.strerror}); name another for --heatmaps."
        ) from error


def tag_files(
    paths: list[Path], labels: list[str] | None, options: Namespace, write: Writer
) -> None:
    """Loads the tagger; tags files batch by batch, so that no more than a batch is in memory.

    Args:
        paths: Image files.
        labels: To choose from; None takes the checkpoint's.
        options: Of the command.
        write: Gets each picture that can be read with its labels.

    Raises:
        InputError: The checkpoint, an option or a label is of no use, or no picture can be read.
    """
    import torch
    from tqdm import tqdm

    from zsl.inference.image_batches import image_batches
    from zsl.inference.prediction import Selection
    from zsl.inference.tagger import Tagger

    tagger = Tagger.from_pretrained(options.checkpoint, options.trust_code)
    tagger.to("cuda" if torch.cuda.is_available() else "cpu")
    if options.heatmaps is not None:
        tagger.check_attention()
    selection = Selection.of(options.top_k, options.threshold, tagger.scores_are_probabilities)
    names, queries = tagger.ask(labels)
    draw = _Drawing(tagger, paths, names, queries, options.heatmaps)
    problems: list[InputError] = []
    lines_show_progress = options.output is None and sys.stdout.isatty()
    with tqdm(total=len(paths), unit=" images", delay=2, disable=lines_show_progress) as progress:
        for batch in image_batches(paths, tagger.image_size, options.batch_size):
            problems += batch.problems
            progress.update(len(batch.places) + len(batch.problems))
            if not batch.places:
                continue
            tokens = tagger.tokens(batch.images)
            predictions = tagger.select(tokens, names, queries, selection)
            for row, place in enumerate(batch.places):
                write(paths[place], predictions[row])
                draw(paths[place], tokens[row : row + 1], predictions[row])
    _tell_problems(problems, len(paths))


class _Drawing:
    """Writes heat maps where a folder for them was named."""

    def __init__(
        self,
        tagger: Tagger,
        paths: list[Path],
        names: list[str],
        queries: Tensor,
        folder: str | None,
    ) -> None:
        self.tagger, self.queries, self.folder = tagger, queries, folder
        if folder is not None:
            from zsl.inference.heat_maps import root_of

            self.root = root_of(paths)
            require(
                not os.path.samefile(folder, self.root),
                f"The folder {folder} holds the images themselves; name another for --heatmaps.",
            )
        self.columns = {name: column for column, name in enumerate(names)}

    def __call__(self, path: Path, tokens: Tensor, prediction: Prediction) -> None:
        """Draws the labels of a picture with the tokens (1, T, C)."""
        if self.folder is None or not prediction.labels:
            return
        from zsl.inference.heat_maps import write_heat_maps

        queries = self.queries[[self.columns[label] for label in prediction.labels]]
        (maps,) = self.tagger.maps(tokens, queries)
        write_heat_maps(Path(self.folder), path, self.root, prediction, maps)


def _tell_problems(problems: list[InputError], num_images: int) -> None:
    """Lists what was skipped.

    Raises:
        InputError: Nothing was left.
    """
    if not problems:
        return
    if len(problems) == num_images:
        more = f"None of the {num_images:,} images can be read; the first: "
        raise InputError((more if num_images > 1 else "") + str(problems[0]))
    print(f"{len(problems):,} of {num_images:,} images were skipped:", file=sys.stderr)
    for problem in problems:
        print(f"  {problem}", file=sys.stderr)


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    try:
        return exit_code(predict, args)
    except BrokenPipeError:
        # As in `| head`. Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
