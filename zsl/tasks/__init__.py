"""The LightningModules: where labels, data, model, loss and metrics meet."""

from zsl.tasks.optimization import OptimizationConfig
from zsl.tasks.zero_shot import ZeroShotTask

__all__ = ["OptimizationConfig", "ZeroShotTask"]
