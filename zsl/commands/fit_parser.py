"""The command line of `zsl.fit`: its parser, and the config that arguments make."""

from __future__ import annotations

import logging
import re
from argparse import ArgumentError
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytorch_lightning as pl
from jsonargparse import ArgumentParser, Namespace
from pytorch_lightning.cli import LightningArgumentParser

from zsl.commands.configs import (
    CONFIG_FLAGS,
    find_config,
    named_values,
    read_config,
    resolve_configs,
    yaml_value,
)
from zsl.commands.help import USAGE, all_arguments
from zsl.commands.images_of_backbone import with_images_of_backbone
from zsl.commands.messages import explain
from zsl.data import MultiLabelDataModule
from zsl.errors import InputError, did_you_mean, program, require
from zsl.files.checkpoints import read_checkpoint
from zsl.files.class_paths import check_all_are_trusted, class_path
from zsl.tasks import ClassificationTask, Task, ZeroShotTask
from zsl.tasks.callbacks import BestCheckpoint, LastCheckpoint

_log = logging.getLogger(__name__)
_TASKS = [class_path(task) for task in (ZeroShotTask, ClassificationTask)]


def fit_parser(task: type[Task] = ZeroShotTask) -> LightningArgumentParser:
    """Makes the parser of `zsl.fit`; the data's vocabulary and image size go to the model.

    Args:
        task: What `model` is.
    """
    parser = LightningArgumentParser(
        prog=program("fit"),
        usage=USAGE,
        description="",
        exit_on_error=False,
        allow_abbrev=False,
    )
    _add_own_arguments(parser)
    parser.add_lightning_class_args(task, "model")
    parser.add_argument(
        "--data", type=MultiLabelDataModule, required=True, help="Images, labels and splits."
    )
    parser.add_lightning_class_args(pl.Trainer, "trainer")
    parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
    parser.add_lightning_class_args(LastCheckpoint, "last_checkpoint")
    parser.set_defaults(
        {
            "trainer.log_every_n_steps": 10,
            "checkpoint.filename": "best",
            "checkpoint.mode": "max",
            "checkpoint.enable_version_counter": False,
        }
    )
    parser.link_arguments("data.vocabulary", "model.vocabulary", apply_on="instantiate")
    parser.link_arguments("data.image_size", "model.image_size", apply_on="instantiate")
    return parser


def _add_own_arguments(parser: LightningArgumentParser) -> None:
    """Adds those that are neither of the task nor of data, trainer and checkpoints."""
    parser.add_argument("-c", "--config", action="config", help="A config; see --help.")
    parser.add_argument("--seed_everything", type=int, default=0, help="Seed of all random draws.")
    parser.add_argument(
        "--ckpt_path",
        type=str | None,
        help="Resume the run of this checkpoint, as it was set up; the word last takes the newest "
        "last.ckpt of the runs with this NAME.",
    )
    parser.add_argument(
        "--run_folder",
        type=str | None,
        metavar="FOLDER",
        help="Folder of the run, in place of runs/NAME/version_N.",
    )
    parser.add_argument(
        "--task",
        type=str,
        default=_TASKS[0],
        help=f"What is trained, and so what --model takes: {', '.join(_TASKS)}, or a class of "
        "your own.",
    )
    parser.add_argument(
        "--images_of_backbone",
        type=bool,
        default=False,
        help="Takes size, interpolation and center_crop of data.images from the backbone, where "
        "that knows how its weights were trained (zsl.models.OpenCLIPBackboneConfig).",
    )
    parser.add_argument(
        "--compile",
        type=bool,
        default=False,
        help="Compiles the training step with PyTorch, which takes minutes and pays in long runs. "
        "Checkpoints, validation and test stay as they are.",
    )


def parse_config(args: list[str]) -> Namespace:
    """Returns the config that `zsl.fit` would have for these arguments.

    Raises:
        InputError: An argument is unknown, or its value is of another type.
    """
    return parse(args)[1]


def named_task(args: list[str]) -> type[Task]:
    """Returns the task that arguments and the configs among them name; the last one counts.

    Raises:
        InputError: It can't be imported, or is not a task; or a config is missing or not YAML.
    """
    path = _TASKS[0]
    for flag, value in named_values(args, "--task", *CONFIG_FLAGS):
        config = {"task": value} if flag == "--task" else read_config(find_config(value))
        path = config.get("task", path)
    module, _, name = str(path).rpartition(".")
    try:
        task = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        near = did_you_mean(str(path), _TASKS)
        raise InputError(
            f"The task {path!r} can't be imported ({error}); expected {', '.join(_TASKS)}, or the "
            f"path of a class of your own.{near}"
        ) from error
    is_task = isinstance(task, type) and issubclass(task, Task)
    require(is_task, f"The task {path!r} is not a zsl.tasks.Task; expected {', '.join(_TASKS)}.")
    return task


def parse(args: list[str]) -> tuple[LightningArgumentParser, Namespace]:
    """Returns the parser of the task that the arguments name, and their config.

    Raises:
        InputError: An argument is unknown, or its value is of another type; or the run to resume
            can't be.
    """
    task = named_task(args)
    parser = fit_parser(task)
    try:
        config = parser.parse_args([yaml_value(argument) for argument in resolve_configs(args)])
        _check_groups(config, parser.get_defaults())
        require(
            config.data.get("init_args", {}).get("images", ...) is not None,
            "--data.images is null; expected its fields by name, or leave it out.",
        )
        if config.ckpt_path is None:
            return parser, with_images_of_backbone(config)
        # A path through `latest` would lead into this run as soon as it has begun.
        config.ckpt_path = str(_checkpoint_to_resume(config).resolve())
        checkpoint = read_checkpoint(config.ckpt_path)
        require(
            checkpoint.contents.task == class_path(task),
            f"The checkpoint {config.ckpt_path} is of the task {checkpoint.contents.task}, but "
            f"this run's is {class_path(task)}; resume with the configs of its run.",
        )
        settings = {k: part for k, part in checkpoint.settings.items() if k in task.parts}
        for name, part in settings.items():
            # What the config names too is trusted.
            own = config.get(f"model.{name}.class_path")
            trusted = isinstance(part, dict) and part["class_path"] == own
            check_all_are_trusted(part, trust_code=trusted)
        config = parser.parse_object({"model": settings}, namespace=config)
        return parser, with_images_of_backbone(config)
    except (ArgumentError, UnicodeDecodeError) as error:
        sentence = explain(str(error), known_names(parser), "config")
        raise InputError(_of_another_task(sentence, task) or sentence) from error


def _of_another_task(sentence: str, task: type[Task]) -> str:
    """Returns a sentence on an unknown argument that another task has; empty if none has it."""
    unknown = re.match(r"There is no argument (model\.[\w.]+\w)", sentence)
    name = unknown[1].replace(".init_args", "") if unknown else ""
    part = name.split(".")[1] if name else ""
    for other in (ZeroShotTask, ClassificationTask):
        theirs, ours = (get_type_hints(kind.__init__).get(part) for kind in (other, task))
        if theirs not in (None, ours) and name in known_names(fit_parser(other)):
            return (
                f"{name} is a setting of {class_path(other)}, but the task is {class_path(task)}; "
                "take a config of that task, or set task."
            )
    return ""


def _checkpoint_to_resume(config: Namespace) -> Path:
    """Returns the path that `ckpt_path` is; for the word `last` the newest of the run's NAME."""
    require(
        config.trainer.max_epochs != 0,
        "trainer.max_epochs is 0, which keeps the model as it was made, so no run can be resumed; "
        f"leave --ckpt_path out, or test the checkpoint with {program('evaluate')}.",
    )
    require(config.ckpt_path != "", "--ckpt_path is empty; name a training's .ckpt file, or last.")
    path = Path(config.ckpt_path)
    if config.ckpt_path != "last" or path.is_file():
        return path
    runs = _runs_folder(config)
    checkpoints = list(runs.glob("*/checkpoints/last.ckpt")) if runs else []
    if not checkpoints:
        raise InputError(
            f"--ckpt_path last finds no run to resume: there is no */checkpoints/last.ckpt in "
            f"{runs or 'the folder of the runs, which trainer.logger does not tell'}; leave it out "
            "to train from the start, or name the .ckpt file."
        )
    newest = max(checkpoints, key=lambda path: path.stat().st_mtime)
    _log.info("Resuming %s", newest.resolve())
    return newest


def _runs_folder(config: Namespace) -> Path | None:
    """Returns `runs/NAME`, if the logger is one that makes such a folder."""
    if config.run_folder:
        return Path(config.run_folder).parent
    logger = first_logger(config)
    if not makes_folder(logger):
        return None
    return Path(logger.init_args.save_dir, logger.init_args.name or "")


def first_logger(config: Namespace) -> Any:
    """Returns the settings of the first of `trainer.logger`, or of the only one."""
    loggers = config.trainer.logger
    return loggers[0] if isinstance(loggers, list) and loggers else loggers


def makes_folder(logger: Any) -> bool:
    """Whether a logger's settings are those of one that makes the run's folder."""
    return str(getattr(logger, "class_path", logger)).endswith("CSVLogger")


def _check_groups(config: Namespace, defaults: Namespace, prefix: str = "") -> None:
    """Refuses a group that is null or a number, with which jsonargparse can't make anything."""
    for name, default in vars(defaults).items():
        value = config.get(name)
        if isinstance(default, Namespace) and "class_path" not in default:
            require(
                isinstance(value, Namespace),
                f"--{prefix}{name} is {value!r}; expected its fields by name, or leave it out.",
            )
            _check_groups(value, default, f"{prefix}{name}.")


def known_names(parser: ArgumentParser) -> set[str]:
    """Names of the parser's arguments, and paths of the classes that it names."""
    found = re.findall(r"--([\w.]+)|\b((?:\w+\.)+[A-Z]\w+)", all_arguments(parser))
    names = {argument or class_path for argument, class_path in found}
    return {name for name in names if not name.endswith(".help")}
