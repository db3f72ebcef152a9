"""Tiny sweep files, and the command on them."""

from pathlib import Path
from typing import Any

import yaml

from tests.fakes.runs import TINY_MODEL, TINY_SHAPES
from zsl.sweeps.command import main

COMMAND = ["${env}", "${interpreter}", "-m", "${program}", "--config", "shapes.yaml"]
COMMAND += ["--config", "loggers/wandb.yaml", "${args}"]
TINY = [*TINY_SHAPES, *TINY_MODEL, "--trainer.accelerator=cpu"]


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
    return main(["tiny.yaml", *TINY, "--trainer.max_epochs=1", *more])
