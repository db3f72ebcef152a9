"""Runs of `zsl.fit` on miniature data."""

import csv
from pathlib import Path

from zsl.commands.fit import main as fit

PARTS = "tests.fakes.parts"
TINY_MODEL = [
    "--model.backbone.name=test_resnet",
    "--model.backbone.weights=null",
    "--model.backbone.stride=16",
    "--model.head.embed_dim=16",
    "--model.head.feedforward_dim=16",
]
QUICK = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu"]
UNFROZEN = ["--model.backbone.frozen=false", "--model.closed_form=null"]
"""In table.yaml: a frozen backbone needs weights, the closed form a frozen backbone."""
TINY_SHAPES = [
    "--data.num_train=16",
    "--data.num_val=8",
    "--data.num_test=16",
    "--data.batch_size=8",
    "--data.images.size=32",
]


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def fit_shapes(*more: str) -> int:
    return fit(["--config=shapes.yaml", *TINY_SHAPES, *TINY_MODEL, *QUICK, *more])
