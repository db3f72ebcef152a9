"""What all commands share, quick to import: exit codes, configs by name, help."""

from __future__ import annotations

import ast
import errno
import json
import logging
import os
import re
import sys
import textwrap
import warnings
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from pathlib import Path

import docstring_parser

from zsl.errors import InputError, did_you_mean

_PACKAGE = Path(__file__).parent

_ARGUMENTS = (
    ("--model.ARGUMENT", "tasks.py", "ZeroShotTask"),
    (
        "--model.encoder.ARGUMENT of a SentenceEncoder",
        "labels/sentence_encoder.py",
        "SentenceEncoder",
    ),
    ("--model.encoder.ARGUMENT of WordVectors", "labels/word_vectors.py", "WordVectors"),
    ("--model.encoder.ARGUMENT of a LabelMatrix", "labels/label_matrix.py", "LabelMatrix"),
    ("--model.encoder.ARGUMENT of a Concatenation", "labels/concatenation.py", "Concatenation"),
    ("--data.ARGUMENT of shapes.yaml", "data/shapes.py", "ShapesDataModule"),
    ("--data.ARGUMENT of table.yaml", "data/table.py", "TableDataModule"),
    ("--data.ARGUMENT of nuswide...yaml", "data/nuswide/module.py", "NUSWideDataModule"),
)
"""What the help explains: a title, and the class whose docstring does."""


def exit_code(command: Callable[[list[str]], int | None], args: Sequence[str] | None) -> int:
    """Runs a command; turns an `InputError` into one sentence on stderr and exit code 2.

    Args:
        command: Takes the arguments that follow the command's name; returns its exit code, or
            None for 0.
        args: These arguments; None takes those of the process.
    """
    leave_out_chatter()
    try:
        return command(list(sys.argv[1:] if args is None else args)) or 0
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    except Exception as error:
        message = user_message(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        return 2


def user_message(error: BaseException | None) -> str | None:
    """The message of the user's mistake that this error is or comes from."""
    while error is not None:
        if isinstance(error, InputError | ArgumentError):
            # A loader process hands its error on as text, with a traceback before the message.
            message = " ".join(str(error).rsplit("InputError: ", 1)[-1].split())
            wrong = re.fullmatch(
                r'Parser key "(.+?)"(?: element \d+)?: (?:.*? Errors: - )?'
                r"Expected an? <class '(\w+)'>.*? (?:Got|Given) value: (.*)",
                message,
            )
            return f"--{wrong[1]} is {wrong[3]!r}; expected {wrong[2]}." if wrong else message
        if isinstance(error, PermissionError | NotADirectoryError | FileExistsError):
            return f"{error.filename}: {error.strerror}."
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return (
                f"{error.filename or 'The disk'}: {error.strerror}; make room, or write elsewhere."
            )
        error = error.__cause__ or error.__context__
    return None


def shipped_configs() -> Path:
    """The folder of the configs that come with the package, installed or in a checkout."""
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def config_names() -> list[str]:
    """Names of the shipped configs, as `--config` takes them."""
    return [name for name in _shipped_names() if not name.startswith("sweeps/")]


def sweep_names() -> list[str]:
    """Names of the shipped sweep files, as `zsl.sweep` takes them."""
    return [name for name in _shipped_names() if name.startswith("sweeps/")]


def _shipped_names() -> list[str]:
    folder = shipped_configs()
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml"))


def find_config(name: str) -> str:
    """Finds a config in the working directory, else among the shipped ones.

    Raises:
        InputError: It is in neither; near matches are in the message.
    """
    return _find("config", name, config_names())


def find_sweep(name: str) -> str:
    """Finds a sweep file in the working directory, else among the shipped ones.

    Raises:
        InputError: It is in neither; near matches are in the message.
    """
    return _find("sweep file", name, sweep_names())


def _find(kind: str, name: str, shipped_names: list[str]) -> str:
    """Finds a file of a kind.

    Raises:
        InputError: It is in neither; near matches are in the message.
    """
    if Path(name).is_file():
        return name
    shipped = shipped_configs() / name
    if shipped.is_file():
        return str(shipped)
    raise InputError(
        f"The {kind} {name!r} is neither a file nor one of the shipped {kind}s "
        f"({', '.join(shipped_names)})." + did_you_mean(name, shipped_names)
    )


def resolve_configs(args: Sequence[str]) -> list[str]:
    """Replaces the value of every `--config` by the path of that config."""
    resolved: list[str] = []
    for position, argument in enumerate(args):
        flag, equals, value = argument.partition("=")
        if flag in ("--config", "-c") and equals:
            resolved.append(f"{flag}={find_config(value)}")
        elif position and args[position - 1] in ("--config", "-c"):
            resolved.append(find_config(argument))
        else:
            resolved.append(argument)
    return resolved


def yaml_values(args: Sequence[str]) -> list[str]:
    """Rewrites None, lists and dicts in Python's notation, as the agent of W&B writes them."""
    return [_yaml_value(argument) for argument in args]


def _yaml_value(argument: str) -> str:
    flag, equals, text = argument.partition("=")
    if not equals or (text != "None" and not text.startswith(("{", "["))):
        return argument
    try:
        return f"{flag}={json.dumps(ast.literal_eval(text))}"
    except (ValueError, SyntaxError, TypeError):
        return argument  # YAML's own notation.


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


def leave_out_chatter() -> None:
    """Silences what a user can't act on."""
    for message in (
        "LightningCLI's args parameter is intended",
        ".*does not have many workers",
        ".*isinstance.treespec, LeafSpec.",
        ".*smaller than the logging interval",
        ".*module.s. in eval mode at the start of training",
        ".*The dirpath has changed from",
        # Repeated images are dropped before anything is measured.
        ".*Using `DistributedSampler` with the dataloaders",
        "predict returned None",
        # The sampler resumes.
        ".*your dataloader is not resumable",
    ):
        warnings.filterwarnings("ignore", message)
    # Of pictures that it reads nevertheless.
    warnings.filterwarnings("ignore", module="PIL")
    logging.basicConfig(format="%(message)s")
    logging.getLogger("zsl").setLevel(logging.INFO)
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(f"{name}.utilities.rank_zero").addFilter(_is_of_use)
    # It logs each of its attempts.
    logging.getLogger("huggingface_hub.utils._http").setLevel(logging.ERROR)
    # It logs a traceback before it raises what is explained to the user.
    logging.getLogger("gensim").setLevel(logging.CRITICAL)
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _is_of_use(record: logging.LogRecord) -> bool:
    chatter = ("Tip:", "Loading `train_dataloader`", "TPU available", "configure_callbacks")
    return not any(phrase in record.getMessage() for phrase in chatter)
