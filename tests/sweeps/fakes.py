"""Trials that go wrong, given to `zsl.fit` as callbacks, and tiny sweep files."""

import os
import signal
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning import Callback, LightningModule, Trainer

from tests.commands.test_fit import TINY_MODEL, TINY_SHAPES
from zsl.sweeps.command import main

COMMAND = ["${env}", "${interpreter}", "-m", "${program}", "--config", "shapes.yaml"]
COMMAND += ["--config", "loggers/wandb.yaml", "${args}"]
TINY = [*TINY_SHAPES, *TINY_MODEL, "--trainer.accelerator=cpu", "--trainer.max_epochs=1"]


class GoesWrong(Callback):
    """Fails as the training starts, while a file exists.

    Args:
        crashes: Seed of the trial that raises.
        killed: Seed of the trial whose process is killed.
    """

    def __init__(self, crashes: int, killed: int) -> None:
        self.crashes = str(crashes)
        self.killed = str(killed)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seed = os.environ["PL_GLOBAL_SEED"]
        if Path("wrong").exists() and seed == self.crashes:
            raise RuntimeError("the sky fell")
        if Path("wrong").exists() and seed == self.killed:
            os.kill(os.getpid(), signal.SIGKILL)


def content(**changes: Any) -> dict[str, Any]:
    """A sweep file's content: a grid of two points."""
    return {
        "name": "tiny",
        "program": "zsl.fit",
        "method": "grid",
        "metric": {"name": "val/zsl/mAP", "goal": "maximize"},
        "command": COMMAND,
        "parameters": {"model.augmentation.noise": {"values": [0.0, 0.5]}},
    } | changes


def write(**changes: Any) -> str:
    """Writes a sweep file into the working directory."""
    Path("tiny.yaml").write_text(yaml.safe_dump(content(**changes), sort_keys=False))
    return "tiny.yaml"


def run(*more: str) -> int:
    return main(["tiny.yaml", *TINY, *more])
