"""The command line of `zsl.fit`: its parser, and the data, model and trainer of a config."""

from __future__ import annotations

import logging
import re
from argparse import ArgumentError
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from jsonargparse import ArgumentParser, Namespace
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.cli import LightningArgumentParser

from zsl.commands.configs import resolve_configs, yaml_value
from zsl.commands.help import USAGE, all_arguments
from zsl.commands.messages import explain
from zsl.commands.run_record import RecordRun
from zsl.data import MultiLabelDataModule
from zsl.errors import InputError, did_you_mean, require
from zsl.evaluation.callback import Report
from zsl.files.checkpoints import read_checkpoint
from zsl.files.class_paths import check_all_are_trusted, class_path
from zsl.labels import LabelEncoder, Vocabulary
from zsl.tasks import ClassificationTask, Task, ZeroShotTask
from zsl.tasks.callbacks import BestCheckpoint, LastCheckpoint

_log = logging.getLogger(__name__)
_TASKS = [class_path(task) for task in (ZeroShotTask, ClassificationTask)]


@dataclass
class Run:
    """What `zsl.fit` makes of its arguments before it trains."""

    config: Namespace
    datamodule: MultiLabelDataModule
    model: Task
    trainer: pl.Trainer
    best: BestCheckpoint
    last: LastCheckpoint
    report: Report
    record: RecordRun


def fit_parser(task: type[Task] = ZeroShotTask) -> LightningArgumentParser:
    """Makes the parser of `zsl.fit`; the data's vocabulary and image size go to the model.

    Args:
        task: What `model` is.
    """
    parser = LightningArgumentParser(
        prog="python -m zsl.fit",
        usage=USAGE,
        description="",
        exit_on_error=False,
        allow_abbrev=False,
    )
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


def parse_config(args: list[str]) -> Namespace:
    """Returns the config that `zsl.fit` would have for these arguments.

    Raises:
        InputError: An argument is unknown, or its value is of another type.
    """
    return _parse(args)[1]


def named_task(args: list[str]) -> type[Task]:
    """Returns the task that arguments and the configs among them name; the last one counts.

    Raises:
        InputError: It can't be imported, or is not a task; or there is no such config.
    """
    path = _TASKS[0]
    resolved = resolve_configs(args)
    for argument, following in zip(resolved, [*resolved[1:], ""], strict=True):
        flag, equals, value = argument.partition("=")
        value = value if equals else following
        if flag == "--task":
            path = value
        elif flag in ("-c", "--config") and Path(value).is_file():
            config = yaml.safe_load(Path(value).read_text(encoding="utf-8"))
            path = config.get("task", path) if isinstance(config, dict) else path
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


def _parse(args: list[str]) -> tuple[LightningArgumentParser, Namespace]:
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
            return parser, config
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
        return parser, parser.parse_object({"model": settings}, namespace=config)
    except (ArgumentError, UnicodeDecodeError) as error:
        sentence = explain(str(error), _known_names(parser))
        raise InputError(_of_another_task(sentence, task) or sentence) from error


def _of_another_task(sentence: str, task: type[Task]) -> str:
    """Returns a sentence on an unknown argument that another task has; empty if none has it."""
    unknown = re.match(r"There is no argument (model\.[\w.]+\w)", sentence)
    name = unknown[1].replace(".init_args", "") if unknown else ""
    for other in (ZeroShotTask, ClassificationTask):
        if name and other is not task and name in _known_names(fit_parser(other)):
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
        "leave --ckpt_path out, or test the checkpoint with python -m zsl.evaluate.",
    )
    require(config.ckpt_path != "", "--ckpt_path is empty; name a .ckpt file of zsl.fit, or last.")
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
    logger = _first_logger(config)
    if not _makes_folder(logger):
        return None
    return Path(logger.init_args.save_dir, logger.init_args.name or "")


def _first_logger(config: Namespace) -> Any:
    loggers = config.trainer.logger
    return loggers[0] if isinstance(loggers, list) and loggers else loggers


def _makes_folder(logger: Any) -> bool:
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


def _known_names(parser: ArgumentParser) -> set[str]:
    """Names of the parser's arguments, and paths of the classes that it names."""
    found = re.findall(r"--([\w.]+)|\b((?:\w+\.)+[A-Z]\w+)", all_arguments(parser))
    names = {argument or class_path for argument, class_path in found}
    return {name for name in names if not name.endswith(".help")}


def make_run(args: list[str]) -> Run:
    """Makes the data, the model and the trainer of these arguments of `zsl.fit`.

    Raises:
        InputError: An argument can't be used, or a part can't be made with it.
    """
    parser, config = _parse(args)
    require(
        config.checkpoint.monitor is not None,
        "checkpoint.monitor is not set, so no checkpoint can be selected; name a metric of the "
        "validation in the config, as shapes.yaml does.",
    )
    pl.seed_everything(config.seed_everything, workers=True)
    # The folder is not saved: the config, run again, should not write into this run's.
    folder = config.pop("run_folder")
    made = _instantiate(parser, _logging_to(folder, config) if folder else config)
    backbone = made.model.backbone
    require(
        not (backbone.frozen and backbone.is_random) or config.ckpt_path is not None,
        "model.backbone.frozen is true, but model.backbone.weights is null: a backbone of random "
        "weights would never be trained; set weights (pretrained, or a file), or frozen false.",
    )
    report = Report()
    callbacks = made.trainer.callbacks or []
    callbacks = [*(callbacks if isinstance(callbacks, list) else [callbacks])]
    callbacks += [made.checkpoint, made.last_checkpoint, report]
    record = RecordRun(parser, config, save_to_log_dir=False)
    if not config.trainer.fast_dev_run:
        callbacks.append(record)
    _check_monitors(callbacks, made.model.logged_names)
    trainer = _make_trainer({**vars(made.trainer), "callbacks": callbacks})
    kept = (made.checkpoint, made.last_checkpoint)
    return Run(config, made.data, made.model, trainer, *kept, report, record)


def _check_monitors(callbacks: list[Any], logged: list[str]) -> None:
    """Refuses a monitor that is not measured; callbacks of one's own may log more."""
    if not all(
        type(part).__module__.startswith(("pytorch_lightning.", "zsl.")) for part in callbacks
    ):
        return
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        is_best = isinstance(callback, BestCheckpoint)
        where = "checkpoint" if is_best else type(callback).__name__
        names = [name for name in logged if name.startswith("val/")] if is_best else logged
        require(
            monitor is None or monitor in names,
            f"{where}: the validation does not log {monitor!r}.{did_you_mean(str(monitor), names)}",
        )


def data_and_task(args: list[str]) -> tuple[MultiLabelDataModule, Task, str]:
    """Makes what `zsl.fit` would train for these arguments, with random weights.

    Returns:
        The data, the task and the trainer's precision.
    """
    parser, config = _parse([*args, "--model.backbone.weights=null"])
    require(
        config.ckpt_path is None,
        "--ckpt_path resumes a training; leave it out.",
    )
    made = _instantiate(parser, config)
    return made.data, made.model, str(config.trainer.precision or "32-true")


def data_of(args: list[str]) -> MultiLabelDataModule:
    """Makes the data that `zsl.fit` would have for these arguments, without model and trainer."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--data", type=MultiLabelDataModule)
    return _instantiate(parser, Namespace(data=parse_config(args).data)).data


def labels_of(args: list[str]) -> tuple[Vocabulary, LabelEncoder]:
    """Makes the vocabulary and the label encoder that `zsl.fit` would have for these arguments.

    Model and trainer are left out: they may need a download.
    """
    config = parse_config(args)
    require(
        "encoder" in config.model,
        f"The task {config.task} has fixed classes and so no label vectors to show; name a config "
        "of zero-shot learning.",
    )
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--data", type=MultiLabelDataModule)
    parser.add_argument("--encoder", type=LabelEncoder)
    made = _instantiate(parser, Namespace(data=config.data, encoder=config.model.encoder))
    return made.data.vocabulary, made.encoder


def _instantiate(parser: ArgumentParser, config: Namespace) -> Namespace:
    try:
        return parser.instantiate(config)
    except (ArgumentError, ValueError) as error:
        if "given class_path" not in str(error):
            raise
        raise InputError(explain(str(error), _known_names(parser))) from error


def _logging_to(folder: str, config: Namespace) -> Namespace:
    """Returns a config whose first logger makes this folder."""
    config, path = config.clone(), Path(folder)
    first = _first_logger(config)
    require(
        _makes_folder(first),
        f"trainer.logger begins with {getattr(first, 'class_path', first)}; expected a CSVLogger "
        f"first, as in shapes.yaml, for it makes the folder {folder}.",
    )
    first.init_args.save_dir = str(path.parent.parent)
    first.init_args.name, first.init_args.version = path.parent.name, path.name
    return config


def _make_trainer(arguments: dict[str, Any]) -> pl.Trainer:
    """Makes the trainer, in bf16 where a GPU has it and no precision is set."""
    has_gpu = arguments["accelerator"] in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    if has_gpu and arguments["precision"] is None:
        if torch.cuda.is_bf16_supported(including_emulation=False):
            arguments["precision"] = "bf16-mixed"
    elif not has_gpu and arguments["precision"] == "16-mixed":
        # Lightning would take bf16-mixed, in which zsl.evaluate does not score on a CPU.
        _log.info("Without a GPU there is no precision 16-mixed; 32-true is taken.")
        arguments["precision"] = "32-true"
    try:
        trainer = pl.Trainer(**arguments)
    except (ImportError, MisconfigurationException, TypeError, ValueError) as error:
        raise InputError(f"trainer: {' '.join(str(error).split())}") from error
    require(
        trainer.precision not in ("16-true", "bf16-true"),
        f"trainer.precision is {trainer.precision}, which would round weights and label vectors; "
        f"expected {str(trainer.precision).replace('true', 'mixed')}, or 32-true.",
    )
    return trainer
