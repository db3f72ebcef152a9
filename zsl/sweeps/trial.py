"""What runs in the process of a trial: one `zsl.fit`."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
import warnings
from dataclasses import dataclass, field
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from zsl.commands.exit_codes import leave_out_chatter, user_message
from zsl.errors import require

PRELOADED = ["torch", "torchvision", "torchmetrics", "timm", "pandas", "matplotlib.figure"]
PRELOADED += ["pytorch_lightning.cli", "sklearn.metrics"]
"""Imported once for all trials. Not zsl: the server that imports has its own search path."""


@dataclass(frozen=True)
class Job:
    """A trial to run.

    Args:
        args: Of `zsl.fit`.
        folder: Of the run.
        metric: What is reported after each validation.
        num_threads: CPU threads.
        environment: Variables to set.
    """

    args: list[str]
    folder: Path
    metric: str
    num_threads: int
    environment: dict[str, str]


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Args:
        state: `complete`; `pruned` by what was reported; `refused` for input that can't be used;
            or `failed`.
        value: The metric of the checkpoint that was tested.
        message: Why it was refused or failed.
        config: The run's config.
        results: The test's figures under their logged names.
    """

    state: Literal["complete", "pruned", "refused", "failed"]
    value: float | None = None
    message: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    results: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Checked:
    """What `check` found: a message where something is wrong, and the number of GPUs."""

    message: str = ""
    num_gpus: int = 0


def run_trial(job: Job, connection: Connection) -> None:
    """Runs a trial: sends the metric of each validation, is told whether to stop, sends the end."""
    job.folder.mkdir(parents=True, exist_ok=True)
    _prepare(job.folder / "log.txt", job.environment)
    try:
        outcome = _fit(job, connection)
    except Exception as error:
        traceback.print_exc()
        message = user_message(error)
        outcome = Outcome(
            "failed" if message is None else "refused",
            message=message or f"{type(error).__name__}: {' '.join(str(error).split())}",
        )
    if wandb := sys.modules.get("wandb"):
        # It would do so on the exit of a process, but multiprocessing leaves that out.
        wandb.finish(exit_code=int(outcome.state in ("failed", "refused")))
    connection.send(outcome)


def check(arguments: list[list[str]], connection: Connection) -> None:
    """Parses arguments as `zsl.fit` would, up to the first that can't be used."""
    _prepare(Path(os.devnull), {})
    try:
        import torch

        from zsl.commands.fit_cli import parse

        for args in arguments:
            _check_one(parse(args))
        found = Checked(num_gpus=torch.cuda.device_count())
    except Exception as error:
        found = Checked(user_message(error) or traceback.format_exc())
    connection.send(found)


def _check_one(config: Any) -> None:
    devices, num_nodes = config["trainer"]["devices"], config["trainer"]["num_nodes"]
    require(
        str(devices) in ("auto", "1", "[0]") and num_nodes == 1,
        f"trainer.devices is {devices} and trainer.num_nodes {num_nodes}; a trial runs on one "
        "device, so leave them out and use --processes.",
    )


def _prepare(log: Path, environment: dict[str, str]) -> None:
    """Makes this process a trial's: its output goes to a log, its end is up to the parent."""
    # Ctrl-C reaches all processes; the parent ends its trials.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.environ.update(environment)
    leave_out_chatter()
    # The log is in it.
    warnings.filterwarnings("ignore", "Experiment logs directory .* exists and is not empty")


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _fit(job: Job, connection: Connection) -> Outcome:
    import torch
    import yaml

    from zsl.commands.fit import test_best, train
    from zsl.sweeps.callback import ReportValidation

    torch.set_num_threads(job.num_threads)
    report = ReportValidation(job.metric, connection)
    cli = train(job.args, [report], job.folder)
    config = yaml.safe_load((job.folder / "config.yaml").read_text())
    if report.is_pruned:
        return Outcome("pruned", config=config)
    best: Any = cli.trainer.checkpoint_callback
    require(
        best.best_model_score is not None,
        "Nothing was validated, so there is nothing to compare; a sweep needs validations.",
    )
    test_best(cli)
    results = json.loads((job.folder / "results.json").read_text())["metrics"]
    return Outcome("complete", best.best_model_score.item(), config=config, results=results)
