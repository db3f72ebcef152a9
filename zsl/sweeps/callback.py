"""What a trial tells of itself while it trains."""

from __future__ import annotations

from multiprocessing.connection import Connection

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from zsl.errors import require


class ReportValidation(Callback):
    """Sends a metric after each validation; stops the training where it is told to.

    Args:
        metric: Its logged name.
        connection: Takes the metric, gives whether to stop.
    """

    def __init__(self, metric: str, connection: Connection) -> None:
        self.metric = metric
        self.connection = connection
        self.is_pruned = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reports; nothing is known yet in the check before the training."""
        if trainer.sanity_checking:
            return
        require(
            self.metric in trainer.callback_metrics,
            f"The run logs no {self.metric}: the data has too few labels for it; choose another "
            "metric.",
        )
        self.connection.send(trainer.callback_metrics[self.metric].item())
        if self.connection.recv():
            self.is_pruned = trainer.should_stop = True
