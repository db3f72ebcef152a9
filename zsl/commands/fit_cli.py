"""LightningCLI for this product: its parser, its links, its record of a run."""

from __future__ import annotations

import json
import logging
import os
from argparse import ArgumentError
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from jsonargparse import ArgumentParser, Namespace
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from pytorch_lightning.loggers import WandbLogger

from zsl.commands.configs import resolve_configs, yaml_values
from zsl.commands.messages import _explain
from zsl.data import MultiLabelDataModule
from zsl.errors import InputError, require
from zsl.evaluation.callback import Report
from zsl.files.atomic import write_atomically
from zsl.files.checkpoints import read_checkpoint
from zsl.labels import LabelEncoder, Vocabulary
from zsl.tasks.callbacks import BestCheckpoint, LastCheckpoint
from zsl.tasks.zero_shot import ZeroShotTask
from zsl.versions import versions

_log = logging.getLogger(__name__)


class RecordRun(SaveConfigCallback):
    """Writes `config.yaml` and `run.json` when a run starts; `latest` then points to the run."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Writes the config, then the record, once."""
        is_first = not self.already_saved
        super().setup(trainer, pl_module, stage)
        # Asking for it is a collective operation: not for the first process alone.
        folder = Path(trainer.log_dir or ".")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger) and trainer.is_global_zero:
                # Its summary would keep the last value.
                best = trainer.checkpoint_callback
                if isinstance(best, BestCheckpoint):
                    logger.experiment.define_metric(best.monitor, summary=best.mode)
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


class FitCLI(LightningCLI):
    """`zsl.fit`: one subcommand, a best and a last checkpoint, data linked to the model."""

    def __init__(self, args: list[str]) -> None:
        self.report = Report()
        options = {"exit_on_error": False, "allow_abbrev": False}
        super().__init__(
            ZeroShotTask,
            MultiLabelDataModule,
            subclass_mode_data=True,
            save_config_callback=RecordRun,
            trainer_defaults={"callbacks": [self.report], "log_every_n_steps": 10},
            seed_everything_default=0,
            parser_kwargs={**options, "fit": options},
            auto_configure_optimizers=False,
            # What `__init__` receives is plain already, and so fit for a safe checkpoint.
            load_from_checkpoint_support=False,
            args=["fit", *yaml_values(resolve_configs(args))],
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses; says in one sentence what is wrong with the arguments or the checkpoint."""
        try:
            super().parse_arguments(parser, args)
        except (ArgumentError, UnicodeDecodeError) as error:
            raise InputError(_explain(str(error))) from error
        checkpoint = self.config["fit"]["ckpt_path"]
        if checkpoint not in (None, "last"):
            read_checkpoint(checkpoint)
            # A path through `latest` would lead into this run as soon as it has begun.
            self.config["fit"]["ckpt_path"] = str(Path(checkpoint).resolve())

    def instantiate_classes(self) -> None:
        """Makes data, model and trainer; says in one sentence which part can't be made."""
        trainer = self.config["fit"]["trainer"]
        configured = trainer["logger"]
        # Neither is saved: the config, run again, should not write into this run's folder.
        if folder := self.config["fit"].pop("run_folder"):
            trainer["logger"] = _logging_to(Path(folder), configured)
        try:
            super().instantiate_classes()
        except ValueError as error:
            if "given class_path" not in str(error):
                raise
            raise InputError(_explain(str(error))) from error
        finally:
            trainer["logger"] = configured

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Makes the trainer, in bf16 where a GPU has it and no precision is set."""
        trainer = self.config["fit"]["trainer"]
        if trainer["precision"] is None and _has_bf16(trainer["accelerator"]):
            kwargs["precision"] = "bf16-mixed"
        try:
            return super().instantiate_trainer(**kwargs)
        except (MisconfigurationException, TypeError, ValueError) as error:
            raise InputError(f"trainer: {error}") from error

    def fit(self, **kwargs: Any) -> None:
        """Trains; without an epoch, scores and keeps the model as it was made."""
        if self.trainer.max_epochs != 0:
            self.trainer.fit(**kwargs)
            return
        # Lightning's fit would save nothing, and fail in several processes without parameters.
        self.trainer.validate(**kwargs, verbose=False)
        best = self.trainer.checkpoint_callback
        if isinstance(best, BestCheckpoint):
            best.keep(self.trainer)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Only `fit`: parsers for the others would only slow the start."""
        return {"fit": LightningCLI.subcommands()["fit"]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Links the data's vocabulary to the model; keeps the best and the last checkpoint."""
        parser.link_arguments("data.vocabulary", "model.vocabulary", apply_on="instantiate")
        parser.link_arguments("data.image_size", "model.image_size", apply_on="instantiate")
        parser.add_argument(
            "--run_folder",
            type=str | None,
            metavar="FOLDER",
            help="Folder of the run, in place of runs/NAME/version_N.",
        )
        parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
        parser.add_lightning_class_args(LastCheckpoint, "last_checkpoint")
        parser.set_defaults(
            {
                "checkpoint.filename": "best",
                "checkpoint.mode": "max",
                "checkpoint.enable_version_counter": False,
            }
        )


class _PartsCLI(FitCLI):
    """Makes the data, the model and the trainer of a config, and runs nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Runs nothing."""


def parts_of(args: list[str]) -> FitCLI:
    """Makes the `model`, `datamodule` and `trainer` that `zsl.fit` would have for these."""
    return _PartsCLI(args)


class _ParsingCLI(_PartsCLI):
    """Parses, and makes nothing."""

    def instantiate_classes(self) -> None:
        """Makes nothing."""

    def _set_seed(self) -> None:
        """Sets none."""


def parse(args: list[str]) -> Namespace:
    """Returns the config that `zsl.fit` would have for these arguments.

    Raises:
        InputError: An argument is unknown, or its value is of another type.
    """
    return _ParsingCLI(args).config["fit"]


def _logging_to(folder: Path, logger: Any) -> list[Namespace]:
    """The loggers of a config, where the first one's folder is this one."""
    loggers = deepcopy(logger if isinstance(logger, list) else [logger])
    class_path = getattr(loggers[0], "class_path", None) if loggers else None
    require(
        str(class_path).endswith("CSVLogger"),
        f"trainer.logger begins with {class_path}; expected a CSVLogger first, as in shapes.yaml, "
        f"for it makes the folder {folder}.",
    )
    parent = {"save_dir": str(folder.parent.parent), "name": folder.parent.name}
    loggers[0].init_args.update(Namespace(**parent, version=folder.name))
    return loggers


class _LabelsCLI(_PartsCLI):
    """Makes the data and the label encoder of a config, and nothing else."""

    def instantiate_classes(self) -> None:
        """Leaves model and trainer out: they may need a download."""
        config = self.config["fit"]
        parser = ArgumentParser(exit_on_error=False)
        parser.add_subclass_arguments(MultiLabelDataModule, "data")
        parser.add_subclass_arguments(LabelEncoder, "encoder")
        parts = Namespace(data=config["data"], encoder=config["model"]["encoder"])
        self.made = parser.instantiate(parts)


def labels_of(args: list[str]) -> tuple[Vocabulary, LabelEncoder]:
    """Makes the vocabulary and the label encoder that `zsl.fit` would have for these arguments."""
    made = _LabelsCLI(args).made
    return made.data.vocabulary, made.encoder


def _has_bf16(accelerator: Any) -> bool:
    return (
        accelerator in ("auto", "gpu", "cuda")
        and torch.cuda.is_available()
        and torch.cuda.is_bf16_supported(including_emulation=False)
    )
