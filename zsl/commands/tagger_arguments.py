"""Arguments of the commands that query a tagger."""

from __future__ import annotations

from jsonargparse import ArgumentParser


def add_checkpoint(parser: ArgumentParser) -> None:
    """Adds `--checkpoint`."""
    parser.add_argument(
        "--checkpoint",
        default="ready",
        help="A .ckpt file of zsl.fit, or a folder or hub repository of Tagger.save_pretrained "
        "(default: ready, made from ImageNet's classes without any training).",
    )


def add_labels(parser: ArgumentParser, default: str) -> None:
    """Adds `--labels` and `--texts`; `default` says what happens without labels."""
    parser.add_argument(
        "--labels",
        type=str | None,
        help="Separated by commas, or a file: text with one per line, a JSON list, or a CSV or "
        f"Parquet file with the column name (default: {default}).",
    )
    parser.add_argument(
        "--texts",
        type=str | None,
        help="Texts of new labels, for a checkpoint trained with texts: a file as "
        "model.encoder.texts takes it, or the name of a shipped one (default: the checkpoint's).",
    )
