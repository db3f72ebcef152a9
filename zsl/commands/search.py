"""`python -m zsl.search --checkpoint C --index FOLDER --labels wedding PATHS`: finds images."""

from __future__ import annotations

import csv
from collections.abc import Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from jsonargparse import ArgumentParser, Namespace

from zsl.commands.exit_codes import add_trust_code, exit_code, loading
from zsl.commands.messages import parse_args
from zsl.commands.predict import report_unlike_labels
from zsl.commands.tagger_arguments import add_checkpoint, add_labels
from zsl.errors import printable, program, require
from zsl.files.label_lists import read_labels
from zsl.files.output_text import check_not_read, json_text, path_text
from zsl.notes import note

if TYPE_CHECKING:
    from zsl.inference.gallery import Gallery, Matches
    from zsl.inference.tagger import Tagger


def parse(args: list[str]) -> Namespace:
    """Reads the command line."""
    parser = ArgumentParser(
        prog=program("search"),
        description="Find the images that fit labels best, among those of a folder that keeps what "
        "the backbone made of them: each image is read once, a new word takes the head alone.",
        exit_on_error=False,
    )
    parser.add_argument(
        "paths",
        nargs="*",
        default=[],
        help="Images, folders of images, and patterns such as 'photos/*.jpg'. Those that are new "
        "to the index, or were changed, are read, and only these are searched; without any, the "
        "index is searched as it is.",
    )
    add_checkpoint(parser)
    parser.add_argument(
        "--index", required=True, help="Folder of the index; it is made if it is not there."
    )
    add_labels(parser, default="none; the index is only brought up to date")
    parser.add_argument("--top_k", type=int, default=10, help="Most images per label.")
    parser.add_argument(
        "--format",
        type=Literal["table", "csv", "jsonl"],
        default="table",
        help="A line per image under its label, the same as CSV, or a JSON object per label.",
    )
    parser.add_argument(
        "--output",
        type=str | None,
        help="File that appears when all is written (default: standard output).",
    )
    parser.add_argument(
        "--compact",
        type=bool,
        default=False,
        help="Make an index that is smaller and searched many times as fast, but only with this "
        "checkpoint; an index that is there stays what it is.",
    )
    parser.add_argument("--batch_size", type=int, default=32, help="Images read per batch.")
    add_trust_code(parser)
    return parse_args(parser, args)


def search(args: list[str]) -> None:
    """Brings the index up to date, then finds the images that fit labels best."""
    options = parse(args)
    require(options.batch_size >= 1, f"--batch_size is {options.batch_size}; expected 1 or more.")
    require(options.top_k >= 1, f"--top_k is {options.top_k}; expected 1 or more.")
    labels = None if options.labels is None else read_labels(options.labels)
    require(
        labels is not None or len(options.paths) > 0,
        "There is nothing to do; name --labels to search for, images for the index, or both.",
    )
    for name in ("texts", "output"):
        require(
            labels is not None or getattr(options, name) is None,
            f"--{name} is of the labels that are searched for, but --labels names none; add it, or "
            f"leave --{name} out.",
        )
    # Imported here, so that the help comes at once.
    from zsl.files.image_paths import find_images

    paths = find_images(options.paths)
    with loading():
        from zsl.inference.output_formats import open_output
        from zsl.inference.scorer import unlike_images

    read = (options.checkpoint, options.labels, options.texts, *paths)
    check_not_read(options.output, (*read, *Path(options.index).glob("*")))
    with open_output(Path(options.output) if options.output else None) as file:
        with loading("the tagger"):
            tagger = _load_tagger(options, labels or [])
            if labels is not None:
                # What has no vector is refused before the first image is read.
                names, queries = tagger.embed(labels)
                prepared = tagger.prepare(queries)
                report_unlike_labels(tagger, names, prepared)
        gallery = _open_gallery(tagger, paths, options)
        if labels is None:
            return
        matches = gallery.best(names, options.top_k, prepared)
        shown = {index for match in matches for index in match.indices}
        unlike = {index for index in shown if gallery.is_unlike(index)}
        _WRITERS[options.format](gallery.sources, matches, unlike, file)
        file.flush()
        if unlike:
            note(unlike_images(len(unlike), len(shown)))


def _load_tagger(options: Namespace, labels: Sequence[str]) -> Tagger:
    """Loads the tagger, with the texts of the labels."""
    import torch

    from zsl.inference.tagger import Tagger
    from zsl.labels.encoders.texts import read_texts_of

    tagger = Tagger.from_pretrained(options.checkpoint, options.trust_code)
    tagger.to("cuda" if torch.cuda.is_available() else "cpu")
    if options.texts is not None:
        tagger.add_texts(read_texts_of(labels, options.texts))
    return tagger


def _open_gallery(tagger: Tagger, paths: Sequence[Path], options: Namespace) -> Gallery:
    """Brings the index up to date with the images, if any are named, and opens it."""
    from zsl.inference.gallery import Gallery

    if not paths:
        return Gallery.open(tagger, options.index)
    return Gallery.build(tagger, paths, options.index, options.batch_size, options.compact)


def _write_table(
    sources: Sequence[object], matches: Sequence[Matches], unlike: Set[int], file: TextIO
) -> None:
    for match in matches:
        print(printable(match.label), file=file)
        for index, score in zip(match.indices, match.scores, strict=True):
            remark = "  (unlike the training images)" if index in unlike else ""
            print(f"  {score:.3f}  {printable(path_text(sources[index]))}{remark}", file=file)


def _write_csv(
    sources: Sequence[object], matches: Sequence[Matches], unlike: Set[int], file: TextIO
) -> None:
    shown = printable if file.isatty() else str
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["label", "rank", "image", "score"])
    for match in matches:
        for rank, (index, score) in enumerate(zip(match.indices, match.scores, strict=True), 1):
            rows.writerow(
                [shown(match.label), rank, shown(path_text(sources[index])), f"{score:.6g}"]
            )


def _write_jsonl(
    sources: Sequence[object], matches: Sequence[Matches], unlike: Set[int], file: TextIO
) -> None:
    for match in matches:
        images = [
            {"image": path_text(sources[index]), "score": float(f"{score:.6g}")}
            | ({"unlike_training_images": True} if index in unlike else {})
            for index, score in zip(match.indices, match.scores, strict=True)
        ]
        print(json_text({"label": match.label, "images": images}), file=file)


_WRITERS = {"table": _write_table, "csv": _write_csv, "jsonl": _write_jsonl}


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return exit_code(search, args)
