"""The zero-shot task: where labels, data, model, loss and metrics meet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from zsl.data import Batch
from zsl.errors import InputError, require
from zsl.files.checkpoints import CheckpointFile
from zsl.labels import LabelEncoder, QueryAugmentationConfig, Role, Vocabulary, encoder_from_recipe
from zsl.losses import AsymmetricLoss, Loss
from zsl.metrics import KS, evaluate
from zsl.models import (
    BackboneConfig,
    HeadConfig,
    MLDecoderConfig,
    TaggerNetwork,
    TimmBackboneConfig,
)
from zsl.tasks.optimization import OptimizationConfig
from zsl.tasks.pairing import pair_towers
from zsl.tasks.task import Task


class ZeroShotTask(Task):
    """Trains a tagger on the seen labels; selects on held-out ones; tests on unseen ones.

    Args:
        vocabulary: Label names and roles, from the data.
        image_size: Side of the square images in pixels, from the data.
        encoder: Makes the label vectors.
        backbone: Makes what turns images into tokens.
        head: Makes what turns tokens and label vectors into logits.
        augmentation: How queries are augmented in training.
        loss: The loss on the seen labels.
        optimization: Optimizer, schedule and moving average of the weights.

    Raises:
        InputError: There are no seen or no unseen labels, or the parts don't go together.
    """

    parts: ClassVar[dict[str, Any]] = {
        "backbone": BackboneConfig,
        "head": HeadConfig,
        "augmentation": QueryAugmentationConfig,
        "loss": Loss,
        "optimization": OptimizationConfig,
    }
    headline = "zsl/mAP"
    encoder: LabelEncoder

    def __init__(
        self,
        vocabulary: Vocabulary,
        image_size: int,
        encoder: LabelEncoder,
        backbone: BackboneConfig = TimmBackboneConfig(),
        head: HeadConfig = MLDecoderConfig(),
        augmentation: QueryAugmentationConfig = QueryAugmentationConfig(),
        loss: Loss = AsymmetricLoss(),
        optimization: OptimizationConfig = OptimizationConfig(),
    ) -> None:
        _check_roles(vocabulary)
        for name in augmentation.changed if not head.trains_queries else ():
            raise InputError(
                f"augmentation.{name} is {getattr(augmentation, name)}, but the head "
                f"{type(head).__name__} trains a classifier of the seen labels, which has no "
                "queries to augment; set it to 0, or take another head."
            )
        pair_towers(encoder, backbone, head)
        num_seen = len(vocabulary.select(Role.SEEN))
        vectors = encoder.encode(vocabulary.names)
        super().__init__(
            vocabulary,
            image_size,
            TaggerNetwork.make(backbone, head, image_size, vectors, num_seen),
            backbone=backbone,
            head=head,
            augmentation=augmentation,
            loss=loss,
            optimization=optimization,
        )
        self.encoder = encoder
        self.augmentation = augmentation.make(num_seen)
        self.scores_are_log_odds = head.scores_are_log_odds and loss.scores_are_log_odds

    def queries(self, first: Role, last: Role | None = None) -> Tensor:
        """Returns the label vectors (L, W) of a role, or of those from `first` to `last`."""
        return self.network.get_buffer("label_vectors")[self.vocabulary.columns(first, last)]

    def training_step(self, batch: Batch) -> Tensor:
        """Returns the loss on the seen labels."""
        targets = batch["target"][:, self.vocabulary.columns(Role.SEEN)]
        if self.augmentation.ramp:
            self.augmentation.progress = self.global_step / self.num_steps
        queries, targets = self.augmentation(self.queries(Role.SEEN), targets)
        return self.training_loss(batch, queries, targets)

    def groups(self, last: Role = Role.UNSEEN) -> dict[str, list[int]]:
        """Columns of the scores that are evaluated together, by name.

        Args:
            last: The role that ZSL is about: unseen labels, or held-out ones in their place.

        Returns:
            `zsl`: the labels of that role alone; `gzsl`: all up to it; `seen`: the trained ones.
        """
        return _groups(self.vocabulary, last)

    @property
    def logged_names(self) -> list[str]:
        """What a training on this data logs."""
        return logged_names(self.vocabulary)

    @classmethod
    def all_logged_names(cls, settings: Mapping[str, Any]) -> list[str]:
        """What a training can log, given enough labels."""
        return logged_names()

    @classmethod
    def _restored(
        cls,
        checkpoint: CheckpointFile,
        vocabulary: Vocabulary,
        parts: dict[str, Any],
        trust_code: bool,
    ) -> Self:
        assert checkpoint.contents.encoder is not None
        encoder = encoder_from_recipe(checkpoint.contents.encoder, trust_code)
        encoder.remember(vocabulary.names, checkpoint.tensors["network.label_vectors"])
        return cls(vocabulary, checkpoint.contents.image_size, encoder, **parts)


def logged_names(vocabulary: Vocabulary | None = None) -> list[str]:
    """What a training logs: the loss, and the figures of a validation.

    Args:
        vocabulary: What there are too few labels for is left out; None has enough for all.
    """
    if vocabulary is None:
        roles = [Role.SEEN, Role.HELD_OUT] * max(KS)
        vocabulary = Vocabulary([str(number) for number in range(len(roles))], roles)
    scores = torch.zeros(1, len(vocabulary.select(Role.SEEN, Role.HELD_OUT)))
    figures = evaluate(scores, scores.to(torch.int8), _groups(vocabulary, Role.HELD_OUT))
    return ["train/loss", *figures.logged("val")]


def _groups(vocabulary: Vocabulary, last: Role) -> dict[str, list[int]]:
    columns = list(range(len(vocabulary)))
    return {
        "zsl": columns[vocabulary.columns(last)],
        "gzsl": columns[vocabulary.columns(Role.SEEN, last)],
        "seen": columns[vocabulary.columns(Role.SEEN)],
    }


def _check_roles(vocabulary: Vocabulary) -> None:
    """Refuses labels with which there is nothing to train, or nothing to generalise to."""
    for role in (Role.SEEN, Role.UNSEEN):
        require(
            len(vocabulary.select(role)) > 0,
            f"None of the {len(vocabulary)} labels of the data has the role {role}; zero-shot "
            f"learning trains on seen labels and tests on unseen ones, so give some the role "
            f"{role}.",
        )
