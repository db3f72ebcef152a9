"""The LightningModules: where labels, data, model, loss and metrics meet."""

from zsl.tasks.zero_shot import ZeroShotTask

__all__ = ["ZeroShotTask"]
