"""Writes checkpoints so that a stop leaves the old file or the new one."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from zsl.files.atomic import write_atomically


class AtomicCheckpointIO(TorchCheckpointIO):
    """Replaces a checkpoint in one step.

    Lightning's writes to TMPDIR first, and where that is on another file system copies it over the
    earlier checkpoint, which is lost if the copy is not completed.
    """

    @classmethod
    def use_in(cls, trainer: pl.Trainer) -> None:
        """Puts it in the place of Lightning's; a plugin that the user named stays."""
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = cls()

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Saves a checkpoint; addresses such as `s3://...` are left to Lightning."""
        if storage_options is not None or "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        buffer = BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(Path(path), buffer.getvalue())
