"""Checkpoints of tiny models with random weights, as zsl.fit saves them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from tests.fakes.parts import randomise, tiny_backbone, tiny_head
from tests.fakes.table import COLOURS, write_table_dataset
from zsl.data import ImageConfig, MultiLabelDataModule, TableDataModule
from zsl.labels import LabelMatrix
from zsl.models import ClosedFormConfig, ScoresConfig
from zsl.tasks import Task, ZeroShotTask
from zsl.tasks.preparation import TrainingImages, keep_sample, measure_log_odds

NORMALISED: dict[str, Any] = {
    "backbone": tiny_backbone(stride=None, frozen=True),
    "closed_form": ClosedFormConfig(local_tokens=2, own_classes=False),
    "scores": ScoresConfig(sample=12),
}
"""Parts of a task whose scores are normalised."""

NEW_LABELS = ["pink", "grey", "sky blue"]
"""The matrix of label vectors has these beside the labels of the checkpoint."""


COLOUR_TEXTS = "red: the colour of blood\nblue: the colour of the sky\npink: pale red\n"
"""A file of label texts, for two of the labels of the checkpoint and a new one."""


def save_checkpoint(task: Task, data: MultiLabelDataModule, path: Path) -> Path:
    """Saves a task as a Trainer would, without one."""
    trainer: Any = SimpleNamespace(datamodule=data, precision="32-true")
    task.trainer = trainer
    checkpoint = {"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}
    task.on_save_checkpoint(checkpoint)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, path)
    return path


def write_checkpoint(
    folder: Path, image_size: int = 64, images: dict[str, Any] | None = None, **parts: Any
) -> Path:
    """Writes `checkpoints/best.ckpt` of the miniature photographs, and what lies around it.

    Args:
        folder: Of the run.
        image_size: Side of the images in pixels.
        images: Further fields of `ImageConfig`.
        parts: Arguments of `ZeroShotTask` in place of a matrix, a tiny backbone and a tiny head.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [*COLOURS, *NEW_LABELS]
    vectors = np.random.default_rng(0).normal(size=(len(names), 12)).astype(np.float32)
    np.savez(folder / "vectors.npz", vectors=vectors, names=np.array(names))
    root = write_table_dataset(folder / "photos")
    data = TableDataModule(str(root), images=ImageConfig(image_size, **(images or {})))
    torch.manual_seed(0)
    encoder = LabelMatrix(str(folder / "vectors.npz"), scale="unit_variance")
    backbone, head = tiny_backbone(stride=None), tiny_head()
    parts = {"encoder": encoder, "backbone": backbone, "head": head, **parts}
    task = ZeroShotTask(data.vocabulary, image_size, **parts)
    randomise(task.network.head)
    if task.network.closed_form is not None:
        torch.nn.init.normal_(task.network.closed_form.map)
    if task.network.scores is not None:
        training_images = TrainingImages(data, task.tokens)
        keep_sample(task.network.scores, training_images)
        measure_log_odds(task.network.scores, training_images)
    return save_checkpoint(task, data, folder / "checkpoints" / "best.ckpt")


def write_calibrated(folder: Path, **parts: Any) -> Path:
    """Writes a checkpoint whose probabilities are not its scores; see `write_checkpoint`."""
    path = write_checkpoint(folder, **parts)
    whole = torch.load(path, weights_only=True)
    state = whole["state_dict"]
    prefix = "network.calibration."
    state[prefix + "weights"] = torch.tensor([[0.5, 0.2, -0.3], [0.8, 0.1, 0.4]])
    state[prefix + "offsets"] += 0.1 * torch.arange(len(state[prefix + "offsets"]))
    state[prefix + "precision"] += torch.linspace(0.2, 0.95, 141)
    state[prefix + "recall"] += torch.linspace(1, 0, 141)
    torch.save(whole, path)
    return path
