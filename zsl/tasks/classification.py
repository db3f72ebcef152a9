"""The classification task: fixed classes, of which an image has one or several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from zsl.data import Batch
from zsl.data.mixing import MixingConfig
from zsl.errors import require
from zsl.labels import Role, Vocabulary
from zsl.losses import AsymmetricLoss, Loss
from zsl.metrics import KS, Evaluation, Protocol, evaluate
from zsl.models import (
    BackboneConfig,
    FixedHeadConfig,
    FixedMLDecoderConfig,
    TaggerNetwork,
    TimmBackboneConfig,
)
from zsl.tasks.optimization import OptimizationConfig
from zsl.tasks.task import Task


class ClassificationTask(Task):
    """Trains a classifier of all labels of the data.

    Args:
        vocabulary: Class names, from the data; all are seen.
        image_size: Side of the square images in pixels, from the data.
        single_label: Each image has exactly one class: the figures are Acc@1, Acc@5 and mAP.
            Otherwise it may have any number: mAP, and P, R and F1 at probability 0.5 and of an
            image's best labels.
        backbone: Makes what turns images into tokens.
        head: Makes what turns tokens into logits.
        mixing: How training images are mixed with one another.
        loss: The loss on all classes.
        optimization: Optimizer, schedule and moving average of the weights.
        protocol: What counts in validation and test.

    Raises:
        InputError: Some labels are not seen, or the parts don't go together.
    """

    parts: ClassVar[dict[str, Any]] = {
        "single_label": bool,
        "backbone": BackboneConfig,
        "head": FixedHeadConfig,
        "mixing": MixingConfig,
        "loss": Loss,
        "optimization": OptimizationConfig,
        "protocol": Protocol,
    }

    def __init__(
        self,
        vocabulary: Vocabulary,
        image_size: int,
        single_label: bool = False,
        backbone: BackboneConfig = TimmBackboneConfig(),
        head: FixedHeadConfig = FixedMLDecoderConfig(),
        mixing: MixingConfig = MixingConfig(),
        loss: Loss = AsymmetricLoss(),
        optimization: OptimizationConfig = OptimizationConfig(),
        protocol: Protocol = Protocol(),
    ) -> None:
        _check_roles(vocabulary)
        require(
            single_label or not loss.scores_are_softmax,
            f"model.loss is {type(loss).__name__}, whose softmax is of images with one class each, "
            "but model.single_label is false; set it true, or take zsl.losses.AsymmetricLoss or "
            "zsl.losses.BinaryCrossEntropy.",
        )
        super().__init__(
            vocabulary,
            image_size,
            TaggerNetwork.make(backbone, head, image_size, None, len(vocabulary)),
            single_label=single_label,
            backbone=backbone,
            head=head,
            mixing=mixing,
            loss=loss,
            optimization=optimization,
            protocol=protocol,
        )
        self.single_label = single_label
        self.mixing = mixing
        self.protocol = protocol
        self.scores_are_log_odds = loss.scores_are_log_odds
        self.scores_are_softmax = loss.scores_are_softmax

    def queries(self, first: Role, last: Role | None = None) -> None:
        """There are none: a head of fixed classes scores all of them."""

    def groups(self, last: Role = Role.UNSEEN) -> dict[str, list[int]]:
        """Returns the columns of all classes."""
        return _groups(len(self.vocabulary))

    def setup(self, stage: str) -> None:
        """Refuses tokens of another backbone, and to mix stored tokens.

        Raises:
            InputError: The data has a feature store that does not go with this task.
        """
        super().setup(stage)
        datamodule = getattr(self.trainer, "datamodule", None)
        require(
            datamodule is None or not datamodule.feature_store or self.mixing == MixingConfig(),
            "model.mixing mixes the pixels of images, but the feature store serves their tokens; "
            "set mixup and cutmix to 0, or features to null.",
        )

    def training_step(self, batch: Batch) -> Tensor:
        """Returns the loss on all classes.

        Raises:
            InputError: An image has no class or several, and `single_label` is set.
        """
        targets: Tensor = batch["target"]
        if self.single_label:
            _check_single(targets)
        if "image" in batch:
            batch["image"], targets = self.mixing(batch["image"], targets)
        return self.training_loss(batch, None, targets)

    def evaluate(self, scores: Tensor, targets: Tensor, last: Role = Role.UNSEEN) -> Evaluation:
        """Computes the figures of scores (N, L) with targets (N, L)."""
        return _evaluate(scores, targets, self.protocol, self.single_label)

    @property
    def logged_names(self) -> list[str]:
        """What a training on this data logs."""
        return _logged_names(len(self.vocabulary), self.single_label)

    @classmethod
    def all_logged_names(cls, settings: Mapping[str, Any]) -> list[str]:
        """What a training can log, given enough classes."""
        return _logged_names(max(KS), bool(settings.get("single_label")))


def _groups(num_classes: int) -> dict[str, list[int]]:
    return {"all": list(range(num_classes))}


def _evaluate(
    scores: Tensor, targets: Tensor, protocol: Protocol, single_label: bool
) -> Evaluation:
    groups = _groups(scores.shape[1])
    return evaluate(scores, targets, groups, protocol=protocol, single_label=single_label)


def _logged_names(num_classes: int, single_label: bool) -> list[str]:
    targets = torch.eye(num_classes, dtype=torch.int8)
    figures = _evaluate(targets.float(), targets, Protocol(), single_label)
    return ["train/loss", *figures.logged("val")]


def _check_roles(vocabulary: Vocabulary) -> None:
    """Refuses labels that are not trained."""
    others = vocabulary.select(Role.HELD_OUT, Role.UNSEEN)
    require(
        not others,
        f"{len(others)} of the {len(vocabulary)} labels of the data are not seen"
        f"{', the first is ' + repr(others[0]) if others else ''}; classification trains fixed "
        "classes: give all the role seen, or take task: zsl.tasks.ZeroShotTask.",
    )
    require(
        len(vocabulary) > 1,
        f"The data has {len(vocabulary)} classes; classification needs two or more.",
    )


def _check_single(targets: Tensor) -> None:
    """Refuses images (B, L) that have not one class."""
    counts = (targets == 1).sum(dim=1)
    require(
        bool((counts == 1).all()),
        f"model.single_label is true, but an image of the batch has {int(counts.min())} classes "
        f"and another {int(counts.max())}; set it false for data in which an image can have any "
        "number.",
    )
