"""Checkpoints of tiny models with random weights, as zsl.fit saves them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from tests.fakes.table import COLOURS, write_table_dataset
from zsl.data import TableDataModule
from zsl.labels import LabelMatrix
from zsl.tasks.zero_shot import ZeroShotTask

NEW_LABELS = ["pink", "grey", "sky blue"]
"""The matrix of label vectors has these beside the labels of the checkpoint."""

SETTINGS: dict[str, Any] = {
    "backbone": "test_resnet",
    "weights": None,
    "embed_dim": 16,
    "feedforward_dim": 16,
}


def write_checkpoint(folder: Path, image_size: int = 64, **settings: Any) -> Path:
    """Writes `checkpoints/best.ckpt` of the miniature photographs, and what lies around it."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [*COLOURS, *NEW_LABELS]
    vectors = np.random.default_rng(0).normal(size=(len(names), 12)).astype(np.float32)
    np.savez(folder / "vectors.npz", vectors=vectors, names=np.array(names))
    data = TableDataModule(str(write_table_dataset(folder / "photos")), image_size=image_size)
    torch.manual_seed(0)
    encoder = LabelMatrix(str(folder / "vectors.npz"), scale="unit_variance")
    task = ZeroShotTask(data.vocabulary, image_size, encoder, **{**SETTINGS, **settings})
    with torch.no_grad():
        for parameter in task.tagger.decoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # No two labels score alike.
    trainer: Any = SimpleNamespace(datamodule=data, precision="32-true")
    task.trainer = trainer
    checkpoint = {"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}
    task.on_save_checkpoint(checkpoint)
    path = folder / "checkpoints" / "best.ckpt"
    path.parent.mkdir()
    torch.save(checkpoint, path)
    return path
