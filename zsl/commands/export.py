"""`python -m zsl.export --checkpoint runs/.../best.ckpt`: the model as a file without zsl."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser, Namespace

from zsl.commands.exit_codes import add_trust_code, exit_code, loading
from zsl.commands.messages import parse_args
from zsl.errors import program, require
from zsl.files.label_lists import read_labels
from zsl.notes import waiting


def parse(args: list[str]) -> Namespace:
    """Reads the command line."""
    parser = ArgumentParser(
        prog=program("export"),
        description="Write the model of a checkpoint as ONNX, or in torch.export's format.",
        exit_on_error=False,
    )
    parser.add_argument("--checkpoint", type=str, required=True, help="A .ckpt file of zsl.fit.")
    parser.add_argument(
        "--format",
        type=Literal["onnx", "torch_export"],
        default="onnx",
        help="Writes model.onnx, or model.pt2.",
    )
    parser.add_argument(
        "--labels",
        type=str | None,
        help="Builds labels in: separated by commas, a file as zsl.predict takes it, or the word "
        "checkpoint for its own. By default their vectors are an input of the model.",
    )
    parser.add_argument(
        "--texts",
        type=str | None,
        help="Texts of the new labels that are built in, as zsl.predict takes them.",
    )
    parser.add_argument(
        "--output",
        type=str | None,
        help="Folder, new, empty or of an earlier export (default: CHECKPOINT_export beside it).",
    )
    add_trust_code(parser)
    return parse_args(parser, args, "checkpoint")


def export(args: list[str]) -> None:
    """Writes the model of a checkpoint, once the file scores as PyTorch does."""
    options = parse(args)
    require(
        options.texts is None or options.labels not in (None, "checkpoint"),
        "--texts gives texts to new labels, but --labels names none; add it, or leave --texts out.",
    )
    with loading():  # Here, so that the help comes at once.
        from zsl.inference.export_folder import check_output, write_export
        from zsl.inference.export_formats import check_packages
        from zsl.inference.tagger import Tagger
        from zsl.labels.encoders.texts import read_texts_of

    if options.format == "onnx":
        check_packages()
    path = Path(options.checkpoint)
    with loading("the tagger"):
        tagger = Tagger.from_pretrained(path, options.trust_code)
    output = Path(options.output or f"{path.with_suffix('')}_export")
    check_output(output)
    names: list[str] | None = None
    if options.labels is not None:
        is_own = options.labels == "checkpoint"
        names = tagger.vocabulary.names if is_own else read_labels(options.labels)
    if options.texts is not None:
        tagger.add_texts(read_texts_of(names or (), options.texts))
    with waiting("exporting and comparing with PyTorch"):
        difference = write_export(tagger, options.format, names, output)
    print(
        f"{path} as {options.format}: logits differ from PyTorch's by at most "
        f"{difference.largest:.1e}.\nExport: {output}"
    )


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return exit_code(export, args)
