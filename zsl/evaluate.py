"""`python -m zsl.evaluate --checkpoint runs/.../best.ckpt`: the test, from a checkpoint alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser

from zsl.command import exit_code
from zsl.errors import InputError, did_you_mean, require

if TYPE_CHECKING:
    from zsl.data import MultiLabelDataModule


def evaluate(args: list[str]) -> None:
    """Tests a checkpoint on the data it was trained with, and reports as `zsl.fit` does."""
    parser = ArgumentParser(
        prog="python -m zsl.evaluate",
        description="Test a checkpoint of zsl.fit.",
        exit_on_error=False,
    )
    parser.add_argument("--checkpoint", required=True, help="A .ckpt file of zsl.fit.")
    parser.add_argument(
        "--output",
        type=str | None,
        help="Folder for results.json and report/ (default: CHECKPOINT_evaluation beside it).",
    )
    parser.add_argument(
        "--data",
        type=dict[str, Any],
        default={},
        help="Changes to the data's arguments, e.g. --data.root /where/the/photos/are/now.",
    )
    options = parser.parse_args(args)
    # Imported here, so that the help comes at once.
    import pytorch_lightning as pl
    import torch

    from zsl.report import Report
    from zsl.tasks import ZeroShotTask, read_checkpoint

    path = Path(options.checkpoint)
    checkpoint = read_checkpoint(path)
    contents = checkpoint["zsl"]
    datamodule = make_datamodule(contents["data"], options.data)
    task = ZeroShotTask.restore(checkpoint)
    if datamodule.vocabulary != task.vocabulary:
        raise InputError(
            f"{path} was trained with {task.vocabulary!r}, but the data now has "
            f"{datamodule.vocabulary!r}, or other names; evaluate on data with the same classes."
        )
    require(
        datamodule.image_size == task.image_size,
        f"data.image_size is {datamodule.image_size}, but {path} was trained at {task.image_size}.",
    )
    if datamodule.fingerprint != contents["data_fingerprint"]:
        print("note: the data's labels or splits have changed since the training.")
    # Made now: a folder that can't be written should not be met after the test.
    output = Path(options.output or f"{path.with_suffix('')}_evaluation")
    output.mkdir(parents=True, exist_ok=True)
    report = Report()
    trainer = pl.Trainer(
        default_root_dir=output,
        logger=False,
        callbacks=[report],
        precision=contents["precision"] if torch.cuda.is_available() else "32-true",
        devices=1,
    )
    trainer.test(task, datamodule, verbose=False)
    report.show()


def make_datamodule(recipe: dict[str, Any], changes: dict[str, Any]) -> MultiLabelDataModule:
    """Makes the data of a checkpoint again.

    Raises:
        InputError: A change names no argument of the data.
    """
    from zsl import data as datasets

    arguments = {name: value for name, value in recipe.items() if name != "class"}
    for name in changes:
        if name not in arguments:
            raise InputError(
                f"--data.{name} is no argument of {recipe['class']} "
                f"({', '.join(arguments)})." + did_you_mean(name, arguments)
            )
    if recipe["class"] not in datasets.__all__:
        raise InputError(f"This version of zsl has no data of the class {recipe['class']!r}.")
    try:
        return getattr(datasets, recipe["class"])(**arguments | changes)
    except (TypeError, ValueError) as error:
        raise InputError(f"The data can't be made with {changes}: {error}") from error


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return exit_code(evaluate, args)


if __name__ == "__main__":
    sys.exit(main())
