"""The command line of `zsl.fit`: its parser, and the data, model and trainer of a config."""

from __future__ import annotations

import json
import logging
import os
import re
from argparse import ArgumentError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from jsonargparse import ArgumentParser, Namespace
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.cli import LightningArgumentParser, SaveConfigCallback
from pytorch_lightning.loggers import WandbLogger

from zsl.commands.configs import resolve_configs, yaml_value
from zsl.commands.help import USAGE, all_arguments
from zsl.commands.messages import explain
from zsl.data import MultiLabelDataModule
from zsl.errors import InputError, require
from zsl.evaluation.callback import Report
from zsl.files.atomic import write_atomically
from zsl.files.checkpoints import read_checkpoint
from zsl.files.class_paths import check_all_are_trusted
from zsl.labels import LabelEncoder, Vocabulary
from zsl.tasks.callbacks import BestCheckpoint, LastCheckpoint
from zsl.tasks.zero_shot import PARTS, ZeroShotTask
from zsl.versions import versions

_log = logging.getLogger(__name__)


@dataclass
class Run:
    """What `zsl.fit` makes of its arguments before it trains."""

    config: Namespace
    datamodule: MultiLabelDataModule
    model: ZeroShotTask
    trainer: pl.Trainer
    best: BestCheckpoint
    report: Report


def fit_parser() -> LightningArgumentParser:
    """Makes the parser of `zsl.fit`; the data's vocabulary and image size go to the model."""
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
        "--ckpt_path", type=str | None, help="Resume the run of this checkpoint, as it was set up."
    )
    parser.add_argument(
        "--run_folder",
        type=str | None,
        metavar="FOLDER",
        help="Folder of the run, in place of runs/NAME/version_N.",
    )
    parser.add_lightning_class_args(ZeroShotTask, "model")
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
    return _parse(fit_parser(), args)


def _parse(parser: LightningArgumentParser, args: list[str]) -> Namespace:
    try:
        config = parser.parse_args([yaml_value(argument) for argument in resolve_configs(args)])
        _check_groups(config, parser.get_defaults())
        if config.ckpt_path is None:
            return config
        # A path through `latest` would lead into this run as soon as it has begun.
        config.ckpt_path = str(Path(config.ckpt_path).resolve())
        found = read_checkpoint(config.ckpt_path).settings
        settings = {name: part for name, part in found.items() if name in PARTS}
        for name, part in settings.items():
            # What the config names too is trusted.
            own = config.get(f"model.{name}.class_path")
            check_all_are_trusted(part, trust_code=part["class_path"] == own)
        return parser.parse_object({"model": settings}, namespace=config)
    except (ArgumentError, UnicodeDecodeError) as error:
        raise InputError(explain(str(error), _known_names(parser))) from error


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
    parser = fit_parser()
    config = _parse(parser, args)
    require(
        config.checkpoint.monitor is not None,
        "checkpoint.monitor is not set, so no checkpoint can be selected; name a metric of the "
        "validation in the config, as shapes.yaml does.",
    )
    pl.seed_everything(config.seed_everything, workers=True)
    # The folder is not saved: the config, run again, should not write into this run's.
    folder = config.pop("run_folder")
    made = _instantiate(parser, _logging_to(folder, config) if folder else config)
    report = Report()
    callbacks = made.trainer.callbacks or []
    callbacks = [*(callbacks if isinstance(callbacks, list) else [callbacks])]
    callbacks += [made.checkpoint, made.last_checkpoint, report]
    if not config.trainer.fast_dev_run:
        callbacks.append(RecordRun(parser, config, save_to_log_dir=False))
    trainer = _make_trainer({**vars(made.trainer), "callbacks": callbacks})
    return Run(config, made.data, made.model, trainer, made.checkpoint, report)


def labels_of(args: list[str]) -> tuple[Vocabulary, LabelEncoder]:
    """Makes the vocabulary and the label encoder that `zsl.fit` would have for these arguments.

    Model and trainer are left out: they may need a download.
    """
    config = parse_config(args)
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
    loggers = config.trainer.logger
    first = loggers[0] if isinstance(loggers, list) and loggers else loggers
    kind = getattr(first, "class_path", first)
    require(
        str(kind).endswith("CSVLogger"),
        f"trainer.logger begins with {kind}; expected a CSVLogger first, as in shapes.yaml, for it "
        f"makes the folder {folder}.",
    )
    first.init_args.save_dir = str(path.parent.parent)
    first.init_args.name, first.init_args.version = path.parent.name, path.name
    return config


def _make_trainer(arguments: dict[str, Any]) -> pl.Trainer:
    """Makes the trainer, in bf16 where a GPU has it and no precision is set."""
    if arguments["precision"] is None and _has_bf16(arguments["accelerator"]):
        arguments["precision"] = "bf16-mixed"
    try:
        return pl.Trainer(**arguments)
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise InputError(f"trainer: {error}") from error


def _has_bf16(accelerator: Any) -> bool:
    return (
        accelerator in ("auto", "gpu", "cuda")
        and torch.cuda.is_available()
        and torch.cuda.is_bf16_supported(including_emulation=False)
    )


class RecordRun(SaveConfigCallback):
    """Writes `config.yaml` and `run.json` when a run starts; `latest` then points to the run."""

    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Writes the config.

        Raises:
            InputError: The folder holds another run.
        """
        path = self.folder / self.config_filename
        require(not path.exists(), f"{path} is of an earlier run; name another --run_folder.")
        write_atomically(path, self.parser.dump(self.config, skip_none=False).encode())

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Writes the config, then the record, once."""
        is_first = not self.already_saved
        # The folder is broadcast: every process has to read `trainer.log_dir`.
        self.folder = folder = Path(trainer.log_dir or ".")
        super().setup(trainer, pl_module, stage)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger) and trainer.is_global_zero:
                selection = self.config.checkpoint
                # Its summary would keep the last value.
                logger.experiment.define_metric(selection.monitor, summary=selection.mode)
        if is_first and trainer.is_global_zero:
            datamodule: MultiLabelDataModule = trainer.datamodule  # type: ignore[attr-defined]
            record = {"versions": versions(), "data_fingerprint": datamodule.fingerprint}
            write_atomically(folder / "run.json", json.dumps(record, indent=2).encode())
            if trainer.loggers:
                _point(folder.parent / "latest", folder.name)


def _point(link: Path, target: str) -> None:
    """Makes a symbolic link, in one step; not every file system has them."""
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(link)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        _log.warning("%s can't be made to point to this run: %s", link, error)
