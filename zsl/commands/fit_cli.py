"""What the arguments of `zsl.fit` make: data, model and trainer."""

from __future__ import annotations

import logging
import os
from argparse import ArgumentError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from jsonargparse import ArgumentParser, Namespace
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.cli import LightningArgumentParser

from zsl.commands.fit_parser import first_logger, known_names, makes_folder, parse, parse_config
from zsl.commands.messages import explain
from zsl.commands.run_record import RecordRun
from zsl.data import MultiLabelDataModule
from zsl.errors import InputError, did_you_mean, require
from zsl.evaluation.callback import Report
from zsl.labels import LabelEncoder, Vocabulary
from zsl.models import BackboneConfig
from zsl.notes import is_quiet
from zsl.tasks import Task
from zsl.tasks.batch_norm import SyncBatchNorms
from zsl.tasks.callbacks import BestCheckpoint, LastCheckpoint
from zsl.tasks.pairing import pair_towers
from zsl.tasks.progress import Progress

_log = logging.getLogger(__name__)


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


def make_run(args: list[str]) -> Run:
    """Makes the data, the model and the trainer of these arguments of `zsl.fit`.

    Raises:
        InputError: An argument can't be used, or a part can't be made with it.
    """
    parser, config, made = _make_parts(args)
    report = Report()
    callbacks = made.trainer.callbacks or []
    callbacks = [*(callbacks if isinstance(callbacks, list) else [callbacks])]
    callbacks += [made.checkpoint, made.last_checkpoint, report]
    record = RecordRun(parser, config, save_to_log_dir=False)
    if not config.trainer.fast_dev_run:
        callbacks.append(record)
    _check_monitors(callbacks, made.model.logged_names)
    trainer = _make_trainer({**vars(made.trainer), "callbacks": callbacks})
    record.check_folder(trainer)
    kept = (made.checkpoint, made.last_checkpoint)
    return Run(config, made.data, made.model, trainer, *kept, report, record)


def _make_parts(args: list[str]) -> tuple[LightningArgumentParser, Namespace, Namespace]:
    """Returns the parser, the config, and what it makes, with the trainer's arguments."""
    parser, config = parse(args)
    require(
        config.checkpoint.monitor is not None,
        "checkpoint.monitor is not set, so no checkpoint can be selected; name a metric of the "
        "validation in the config, as shapes.yaml does.",
    )
    pl.seed_everything(config.seed_everything, workers=True)
    # The folder is not saved: the config, run again, should not write into this run's.
    folder = config.pop("run_folder")
    made = _instantiate(parser, _logging_to(folder, config) if folder else config)
    made.model.compiles = config.compile
    backbone = made.model.backbone
    require(
        not (backbone.frozen and backbone.is_random) or config.ckpt_path is not None,
        "model.backbone.frozen is true, but model.backbone.weights is null: a backbone of random "
        "weights would never be trained; set weights (pretrained, or a file), or frozen false.",
    )
    return parser, config, made


def without_trainer(args: list[str]) -> tuple[MultiLabelDataModule, Task, Any]:
    """Makes the data and the model of these arguments of `zsl.fit`, weights included.

    Returns:
        The data, the task, and the trainer's `accelerator` and `precision` by name.
    """
    _, config, made = _make_parts(args)
    accelerator = config.trainer.accelerator
    precision = _precision(accelerator, config.trainer.precision)
    return made.data, made.model, {"accelerator": accelerator, "precision": precision}


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
    parser, config = parse([*args, "--model.backbone.weights=null"])
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
    parser.add_argument("--backbone", type=BackboneConfig)
    parts = {name: config.model[name] for name in ("encoder", "backbone")}
    made = _instantiate(parser, Namespace(data=config.data, **parts))
    pair_towers(made.encoder, made.backbone)
    return made.data.vocabulary, made.encoder


def _instantiate(parser: ArgumentParser, config: Namespace) -> Namespace:
    try:
        return parser.instantiate(config)
    except (ArgumentError, ValueError) as error:
        if "given class_path" not in str(error):
            raise
        raise InputError(explain(str(error), known_names(parser))) from error


def _logging_to(folder: str, config: Namespace) -> Namespace:
    """Returns a config whose first logger makes this folder."""
    config, path = config.clone(), Path(folder)
    first = first_logger(config)
    require(
        makes_folder(first),
        f"trainer.logger begins with {getattr(first, 'class_path', first)}; expected a CSVLogger "
        f"first, as in shapes.yaml, for it makes the folder {folder}.",
    )
    # As a version, a number would become `version_N`.
    first.init_args.save_dir, first.init_args.name = str(path.parent), path.name
    first.init_args.version = ""
    return config


def _precision(accelerator: str, precision: Any) -> Any:
    """Returns the trainer's precision: bf16 where a GPU has it and none is set."""
    has_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    if has_gpu and precision is None and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16-mixed"
    if not has_gpu and precision == "16-mixed":
        # Lightning would take bf16-mixed, in which zsl.evaluate does not score on a CPU.
        _log.info("Without a GPU there is no precision 16-mixed; 32-true is taken.")
        return "32-true"
    return precision


def _make_trainer(arguments: dict[str, Any]) -> pl.Trainer:
    """Makes the trainer."""
    arguments["precision"] = _precision(arguments["accelerator"], arguments["precision"])
    if arguments["sync_batchnorm"]:
        plugins = arguments["plugins"] or []
        plugins = plugins if isinstance(plugins, list) else [plugins]
        arguments["plugins"] = [*plugins, SyncBatchNorms()]
    if is_quiet():
        arguments["enable_progress_bar"] = False
    is_shown = arguments["enable_progress_bar"] is not False
    if is_shown and not any(isinstance(part, ProgressBar) for part in arguments["callbacks"]):
        arguments["callbacks"] = [Progress(), *arguments["callbacks"]]
    # Lightning's is a table of our modules.
    arguments["enable_model_summary"] = arguments["enable_model_summary"] or False
    try:
        trainer = pl.Trainer(**arguments)
    except (ImportError, MisconfigurationException, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"trainer: {' '.join(str(error).split())}") from error
    check_launcher(trainer.num_devices, trainer.num_nodes)
    require(
        not arguments["sync_batchnorm"] or trainer.strategy.root_device.type != "cpu",
        "trainer.sync_batchnorm is true, but torch's batch norm over several devices needs GPUs; "
        "leave it out on CPUs.",
    )
    require(
        trainer.precision not in ("16-true", "bf16-true"),
        f"trainer.precision is {trainer.precision}, which would round weights and label vectors; "
        f"expected {str(trainer.precision).replace('true', 'mixed')}, or 32-true.",
    )
    return trainer


def check_launcher(devices: int, nodes: int) -> None:
    """Refuses other processes than the trainer counts on: each would train alone, or wait.

    Args:
        devices: Processes of a machine.
        nodes: Machines.

    Raises:
        InputError: torchrun or srun started another number.
    """
    started = None
    if TorchElasticEnvironment.detect():
        started = os.environ["WORLD_SIZE"]
    elif SLURMEnvironment.detect():
        started = os.environ.get("SLURM_STEP_NUM_TASKS")  # Set by srun alone.
    require(
        started is None or int(started) == devices * nodes,
        f"The launcher started {started} processes, but trainer.devices × trainer.num_nodes is "
        f"{devices} × {nodes}; set these to what was started.",
    )
