"""LightningCLI for this product: its parser, its links, its record of a run."""

from __future__ import annotations

import inspect
import json
import logging
import os
import re
from argparse import ArgumentError
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from jsonargparse import ArgumentParser, Namespace
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from pytorch_lightning.loggers import WandbLogger

from zsl.checkpoints import BestCheckpoint, LastCheckpoint, read_checkpoint
from zsl.command import config_names, resolve_configs, yaml_values
from zsl.data import MultiLabelDataModule
from zsl.errors import InputError, did_you_mean, require
from zsl.files import write_atomically
from zsl.labels import LabelEncoder, Vocabulary
from zsl.report import Report, versions
from zsl.tasks import ZeroShotTask

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
                logger.experiment.define_metric("val/zsl/mAP", summary="max")
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
    """`zsl.fit`: one subcommand, best checkpoint by `val/zsl/mAP`, data linked to the model.

    Args:
        args: The arguments of the command.
        callbacks: Called besides those of the config.
        folder: Of the run; None leaves it to the config.
    """

    def __init__(
        self, args: list[str], callbacks: Sequence[pl.Callback] = (), folder: Path | None = None
    ) -> None:
        self.report = Report()
        self._folder = folder
        options = {"exit_on_error": False, "allow_abbrev": False}
        super().__init__(
            ZeroShotTask,
            MultiLabelDataModule,
            subclass_mode_data=True,
            save_config_callback=RecordRun,
            trainer_defaults={"callbacks": [self.report, *callbacks], "log_every_n_steps": 10},
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
        if self._folder:
            trainer["logger"] = _logging_to(self._folder, configured)
        try:
            super().instantiate_classes()
        except ValueError as error:
            if "given class_path" not in str(error):
                raise
            raise InputError(_explain(str(error))) from error
        finally:
            # The saved config, run again, should not write into this run's folder.
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
        parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
        parser.add_lightning_class_args(LastCheckpoint, "last_checkpoint")
        parser.set_defaults(
            {
                "checkpoint.filename": "best",
                "checkpoint.monitor": "val/zsl/mAP",
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
    place = {"save_dir": str(folder.parents[1]), "name": folder.parent.name, "version": folder.name}
    loggers[0].init_args.update(Namespace(**place))
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
        self.made = parser.instantiate_classes(parts)


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


def _explain(message: str) -> str:
    """Turns jsonargparse's message on many lines into one sentence, with near matches."""
    text = " ".join(message.split())
    section = re.search(r'Parser key "([^"]+)"', text)
    unknown = (
        re.search(r"unrecognized arguments: --([^ =]+)", text)
        or re.search(r"does not accept option '([^']+)'", text)
        or re.search(r"Option '([^']+)' is not accepted", text)
    )
    if unknown:
        key = unknown[1].replace(".init_args", "")
        key = f"{section[1]}.{key}" if section else key
        return f"There is no argument {key}.{did_you_mean(key, _known_arguments())}"
    if section and (inner := re.search(r"given class_path '[^']+': (Parser key \".+)", text)):
        # The rest is about the class, this about its argument.
        own = inner[1].split(" - Expected a <class 'NoneType'> Given value type: <class 'json")[0]
        return _explain(own.replace('Parser key "', f'Parser key "{section[1]}.', 1))
    if section and (choice := re.search(r"Literal\[(.+?)\]\. Got value: (.*)", text)):
        return f"{section[1]} is {choice[2]!r}; expected {choice[1].replace(chr(39), '')}."
    if missing := re.search(r"arguments are required: ([\w.]+)", text):
        key = f"{section[1]}.{missing[1]}" if section else missing[1]
        return f"{key} is not set; add --{key} VALUE, or a --config that sets it."
    if "MultiLabelDataModule is abstract" in text:
        names = [name for name in config_names() if "/" not in name]
        return f"No data is chosen; add a --config, one of {', '.join(names)}."
    if problem := re.search(r"given class_path '([^']+)': (.+?)(?: - | Given value|$)", text):
        return f"{problem[1]} can't be made ({problem[2]}); is its package installed?"
    if section and (reason := re.search(r"Errors: - (.+?)(?: - Expected| Given value|$)", text)):
        expected = re.search(r"Subtypes: \[(.+?)\] Errors", text)
        if expected and reason[1].startswith("Expected"):
            value = re.search(r"Given value: (.*)", text)
            types = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", expected[1])
            types = re.sub(r"typing\.Literal\[([^]]+)\]", lambda m: m[1].replace("'", ""), types)
            types = types.replace("NoneType", "null").replace(", ", " or ")
            return f"{section[1]} is {value[1] if value else 'wrong'!r}; expected {types}."
        return f"{section[1]}: {reason[1]}."
    if wrong := re.search(r"Expected an? <class '(\w+)'>. Got value: (.*)", text):
        return f"{section[1] if section else 'A value'} is {wrong[2]!r}; expected {wrong[1]}."
    return text


def _known_arguments() -> set[str]:
    kinds: list[tuple[str, type]] = [("trainer", pl.Trainer), ("model", ZeroShotTask)]
    kinds += [("model.encoder", kind) for kind in LabelEncoder.__subclasses__()]
    kinds += [("data", kind) for kind in MultiLabelDataModule.__subclasses__()]
    return {
        f"{section}.{name}"
        for section, kind in kinds
        for name in inspect.signature(kind).parameters
    }
