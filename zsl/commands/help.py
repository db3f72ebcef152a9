"""Help of `zsl.fit`."""

from __future__ import annotations

import ast
import textwrap

import docstring_parser

from zsl.commands.configs import _PACKAGE, config_names, shipped_configs

_ARGUMENTS = (
    ("--model.ARGUMENT", "tasks/zero_shot.py", "ZeroShotTask"),
    (
        "--model.encoder.ARGUMENT of a SentenceEncoder",
        "labels/encoders/sentence_encoder.py",
        "SentenceEncoder",
    ),
    ("--model.encoder.ARGUMENT of WordVectors", "labels/encoders/word_vectors.py", "WordVectors"),
    ("--model.encoder.ARGUMENT of a LabelMatrix", "labels/encoders/label_matrix.py", "LabelMatrix"),
    (
        "--model.encoder.ARGUMENT of a Concatenation",
        "labels/encoders/concatenation.py",
        "Concatenation",
    ),
    ("--data.ARGUMENT of shapes.yaml", "data/shapes.py", "ShapesDataModule"),
    ("--data.ARGUMENT of table.yaml", "data/table.py", "TableDataModule"),
    ("--data.ARGUMENT of nuswide...yaml", "data/nuswide/datamodule.py", "NUSWideDataModule"),
)
"""What the help explains: a title, and the class whose docstring does."""


def fit_help() -> str:
    """Help of `zsl.fit`, from the docstrings in the source: importing torch takes seconds."""
    lines = [
        "usage: python -m zsl.fit --config NAME.yaml [--config ...] [--SECTION.ARGUMENT VALUE ...]",
        "",
        "Trains a zero-shot tagger, tests the checkpoint with the best val/zsl/mAP, and writes",
        "everything to runs/NAME/VERSION.",
        "",
        "configs, looked for in the working directory, then among the shipped ones:",
    ]
    for name in config_names():
        first_line = (shipped_configs() / name).read_text().splitlines()[0]
        lines.append(f"  {name:<25}{first_line.lstrip('# ')}")
    lines += [
        "",
        "  --print_config        Print the resulting config with all defaults, and stop.",
        "  --ckpt_path FILE      Resume the run of this checkpoint.",
        "  --last_checkpoint.minutes N  Time between two saves of it in mid-epoch (default: 10).",
        "  --seed_everything N   Seed of all random draws (default: 0).",
        "  --trainer.ARGUMENT    Arguments of Lightning's Trainer, e.g. --trainer.max_epochs 8.",
        "  --help_all            Every argument, those of the Trainer included.",
    ]
    for title, file, class_name in _ARGUMENTS:
        lines += _section(title, file, class_name)
    return "\n".join(lines)


def _section(title: str, file: str, class_name: str) -> list[str]:
    tree = ast.parse((_PACKAGE / file).read_text(encoding="utf-8"))
    (definition,) = (
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name
    )
    parameters = docstring_parser.parse(ast.get_docstring(definition) or "").params
    lines = ["", f"{title}:"]
    for parameter in parameters:
        if parameter.arg_name in ("vocabulary", "image_size") and class_name == "ZeroShotTask":
            continue  # Linked from the data.
        text = " ".join((parameter.description or "").split())
        first = f"  {parameter.arg_name:<22}"
        lines += textwrap.wrap(text, 98, initial_indent=first, subsequent_indent=" " * 24)
    return lines
