"""The LightningModules: where labels, data, model, loss and metrics meet."""

from zsl.tasks.classification import ClassificationTask
from zsl.tasks.optimization import OptimizationConfig
from zsl.tasks.task import Task
from zsl.tasks.zero_shot import ZeroShotTask

__all__ = ["ClassificationTask", "OptimizationConfig", "Task", "ZeroShotTask"]
