"""How weights are optimised: what a task holds of it, whatever it trains."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pytorch_lightning.callbacks import Callback, WeightAveraging
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import get_ema_multi_avg_fn

from zsl.errors import require


@dataclass(frozen=True)
class OptimizationConfig:
    """Optimizer, one-cycle schedule and moving average of the weights.

    Args:
        optimizer: `adamw`, or `adam`, which adds the weight decay to the gradient.
        learning_rate: Peak of the one-cycle schedule.
        weight_decay: Decay of all weights but biases and norms.
        warmup: Fraction of the training over which the learning rate rises.
        ema_decay: Decay per step of the moving average of the weights, which is what is
            validated and saved. None turns it off.
        ema_warmup: Takes (1 + n) / (10 + n) as the decay of step n where that is less, so that
            short runs gain too; else it is constant from the first step.

    Raises:
        InputError: A number is out of range.
    """

    optimizer: Literal["adamw", "adam"] = "adamw"
    learning_rate: float = 1e-4
    weight_decay: float = 1e-2
    warmup: float = 0.2
    ema_decay: float | None = None
    ema_warmup: bool = True

    def __post_init__(self) -> None:
        """Refuses numbers out of range."""
        rate, decay = self.learning_rate, self.weight_decay
        require(rate > 0, f"optimization.learning_rate is {rate}; expected above 0.")
        require(decay >= 0, f"optimization.weight_decay is {decay}; expected 0 or more.")
        require(
            0 <= self.warmup < 1, f"optimization.warmup is {self.warmup}; expected 0 to below 1."
        )
        require(
            self.ema_decay is None or 0 < self.ema_decay < 1,
            f"optimization.ema_decay is {self.ema_decay}; expected between 0 and 1, or null.",
        )

    def configure(
        self, parameters: Iterable[nn.Parameter], steps: int
    ) -> OptimizerLRSchedulerConfig:
        """Makes the optimizer, without decay on 1-d parameters, and its schedule per step.

        Args:
            parameters: What is trained.
            steps: Length of the schedule, from `schedule_steps`.
        """
        trained = list(parameters)
        groups: list[dict[str, Any]] = [
            {"params": [p for p in trained if p.ndim > 1]},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[self.optimizer]
        optimizer = kind(groups, lr=self.learning_rate, weight_decay=self.weight_decay)
        schedule = OneCycleLR(
            optimizer,
            max_lr=self.learning_rate,
            total_steps=steps,
            # OneCycleLR divides by zero where the first phase is one step long.
            pct_start=max(self.warmup, 2 / steps),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def callbacks(self) -> list[Callback]:
        """The moving average of the weights."""
        decay = self.ema_decay
        if decay is None:
            return []

        def average(averaged: Any, current: Any, count: Any) -> None:
            n = int(count)
            now = min(decay, (1 + n) / (10 + n)) if self.ema_warmup else decay
            # The multi-tensor average leaves constant buffers such as label vectors exact.
            get_ema_multi_avg_fn(now)(averaged, current, count)

        return [WeightAveraging(multi_avg_fn=average)]


def schedule_steps(planned: float, resumed: int | None) -> int:
    """Returns the steps of the schedule: those of the run, but enough for a rise and a fall.

    Args:
        planned: Steps of the run.
        resumed: Steps of the schedule of the run that is resumed, if one is.

    Raises:
        InputError: The two differ, or the run has no end.
    """
    require(
        math.isfinite(planned),
        "The training has no end that is known in steps, which the one-cycle schedule needs; set "
        "trainer.max_epochs or trainer.max_steps, and trainer.max_time besides.",
    )
    steps = max(10, int(planned))
    require(
        resumed in (None, steps),
        f"The checkpoint's one-cycle schedule has {resumed} steps, this run's has {steps}; resume "
        "with the same epochs, data and batch size.",
    )
    return steps
