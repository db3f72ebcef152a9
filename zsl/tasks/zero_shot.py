"""The zero-shot task: where labels, data, model, loss and metrics meet."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Self

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from zsl.data import Batch, MultiLabelDataModule
from zsl.errors import InputError, require
from zsl.files.checkpoints import (
    LOAD_ERRORS,
    CheckpointContents,
    CheckpointFile,
    of_another_version,
)
from zsl.files.class_paths import class_path, describe_part, restore_part
from zsl.files.digests import weights_digest
from zsl.labels import LabelEncoder, QueryAugmentationConfig, Role, Vocabulary, encoder_from_recipe
from zsl.losses import AsymmetricLoss, Loss
from zsl.metrics import KS, Evaluation, Predictions, evaluate
from zsl.models import (
    BackboneConfig,
    HeadConfig,
    MLDecoderConfig,
    TaggerNetwork,
    TimmBackboneConfig,
)
from zsl.tasks.callbacks import StepSeeds
from zsl.tasks.optimization import OptimizationConfig, schedule_steps

PARTS: dict[str, Any] = {
    "backbone": BackboneConfig,
    "head": HeadConfig,
    "augmentation": QueryAugmentationConfig,
    "loss": Loss,
    "optimization": OptimizationConfig,
}
"""What a task is made of, besides labels and data: the settings that a checkpoint holds."""


class ZeroShotTask(pl.LightningModule):
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
        super().__init__()
        parts = {
            "backbone": backbone,
            "head": head,
            "augmentation": augmentation,
            "loss": loss,
            "optimization": optimization,
        }
        self.save_hyperparameters({name: describe_part(part) for name, part in parts.items()})
        _check_roles(vocabulary)
        for name in augmentation.changed if not head.trains_queries else ():
            raise InputError(
                f"augmentation.{name} is {getattr(augmentation, name)}, but the head "
                f"{type(head).__name__} trains a classifier of the seen labels, which has no "
                "queries to augment; set it to 0, or take another head."
            )
        self.vocabulary = vocabulary
        self.image_size = image_size
        self.encoder = encoder
        self.backbone = backbone
        self.optimization = optimization
        self.scores_are_log_odds = head.scores_are_log_odds and loss.scores_are_log_odds
        self.augmentation = augmentation.make(len(vocabulary.select(Role.SEEN)))
        self.network = TaggerNetwork.make(
            backbone,
            head,
            image_size,
            encoder.encode(vocabulary.names),
            len(vocabulary.select(Role.SEEN)),
        )
        self.loss = loss
        self.predictions = Predictions()
        self._resumed_steps: int | None = None

    def queries(self, first: Role, last: Role | None = None) -> Tensor:
        """Returns the label vectors (L, W) of a role, or of those from `first` to `last`."""
        return self.network.get_buffer("label_vectors")[self.vocabulary.columns(first, last)]

    def forward(self, images: Tensor, queries: Tensor) -> Tensor:
        """Returns logits (B, L) of images (B, 3, H, W) for queries (L, W)."""
        return self.network(images, queries)

    def setup(self, stage: str) -> None:
        """Refuses tokens of another backbone.

        Raises:
            InputError: The data's feature store was not made with this frozen backbone.
        """
        # Loaders may also be given without a data module.
        datamodule = getattr(self.trainer, "datamodule", None)
        if datamodule is not None and (store := datamodule.feature_store):
            require(
                self.backbone.frozen,
                "The feature store serves the tokens of a frozen backbone; set backbone.frozen "
                "true, or train from the images.",
            )
            store.check("backbone", self.backbone_recipe)

    @property
    def backbone_recipe(self) -> dict[str, Any]:
        """What the tokens of an image depend on, plain values."""
        settings = describe_part(self.backbone.without_weights())
        return {
            "backbone": settings["class_path"],
            **settings["init_args"],
            "weights": weights_digest(self.network.backbone),
            "image_size": self.image_size,
        }

    def _score(self, batch: Batch, queries: Tensor) -> Tensor:
        """Returns logits (B, L) of a batch of images, or of their stored tokens."""
        if "tokens" in batch:
            logits = self.network.head(batch["tokens"].float(), queries)
        else:
            logits = self(batch["image"], queries)
        expected = (len(batch["target"]), len(queries))
        require(
            logits.shape == expected,
            f"{type(self.network.head).__name__} made logits of the shape {tuple(logits.shape)}; "
            f"expected {expected}, images and labels.",
        )
        return logits

    def training_step(self, batch: Batch) -> Tensor:
        """Returns the loss on the seen labels."""
        targets = batch["target"][:, self.vocabulary.columns(Role.SEEN)]
        if self.augmentation.ramp:
            schedule: Any = self.lr_schedulers()
            self.augmentation.progress = self.global_step / schedule.total_steps
        queries, targets = self.augmentation(self.queries(Role.SEEN), targets)
        loss = self.loss(self._score(batch, queries), targets)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forgets earlier scores."""
        self.predictions.reset()

    def validation_step(self, batch: Batch) -> None:
        """Scores seen and held-out labels; the unseen ones have no part in selection."""
        self._predict(batch, Role.HELD_OUT)

    def on_validation_epoch_end(self) -> None:
        """Logs `val/...`, where the held-out labels stand for the unseen ones."""
        logged = self._evaluate(Role.HELD_OUT).logged("val")
        self.log("val/zsl/mAP", logged.pop("val/zsl/mAP"), prog_bar=True, sync_dist=True)
        self.log_dict(logged, sync_dist=True)

    on_test_epoch_start = on_validation_epoch_start

    def test_step(self, batch: Batch) -> None:
        """Scores all labels."""
        self._predict(batch, Role.UNSEEN)

    def on_test_epoch_end(self) -> None:
        """Logs `test/...`; keeps `predictions` and `evaluation` for the report."""
        self.evaluation = self._evaluate(Role.UNSEEN)
        self.log_dict(self.evaluation.logged("test"), sync_dist=True)

    def _predict(self, batch: Batch, last: Role) -> None:
        """Collects the scores of the labels up to a role."""
        targets = batch["target"][:, self.vocabulary.columns(Role.SEEN, last)]
        logits = self._score(batch, self.queries(Role.SEEN, last))
        self.predictions.update(batch["index"], logits, targets)

    def predict_step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Scores all labels: logits float32 (B, L) and targets int8 (B, L)."""
        logits = self._score(batch, self.queries(Role.SEEN, Role.UNSEEN))
        return logits.float().cpu(), batch["target"].cpu()

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

    def _evaluate(self, last: Role) -> Evaluation:
        _, scores, targets = self.predictions.compute()
        return evaluate(scores, targets, self.groups(last))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Makes what `optimization` says.

        Raises:
            InputError: There is nothing to train, or the resumed run had another schedule.
        """
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        require(
            len(trained) > 0,
            f"The head {self.hparams['head']['class_path']} on a frozen backbone has nothing to "
            f"train, but the trainer's max_epochs is {self.trainer.max_epochs}; set it to 0.",
        )
        steps = schedule_steps(self.trainer.estimated_stepping_batches, self._resumed_steps)
        timm_model = getattr(self.network.backbone, "model", None)
        return self.optimization.configure(trained, steps, timm_model)

    def configure_callbacks(self) -> list[Callback]:
        """The callbacks of `optimization`, and the seeds of the steps."""
        return [*self.optimization.callbacks(), StepSeeds()]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what makes the checkpoint self-contained."""
        datamodule: MultiLabelDataModule = self.trainer.datamodule  # type: ignore[attr-defined]
        CheckpointContents(
            task=class_path(type(self)),
            names=self.vocabulary.names,
            roles=[role.value for role in self.vocabulary.roles],
            image_size=self.image_size,
            scores_are_log_odds=self.scores_are_log_odds,
            encoder=self.encoder.recipe,
            data=datamodule.recipe,
            data_fingerprint=datamodule.fingerprint,
            precision=str(self.trainer.precision),
            resizing=asdict(datamodule.images.resizing),
        ).add_to(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses to resume with other labels."""
        found = Vocabulary(checkpoint["zsl"]["names"], checkpoint["zsl"]["roles"])
        if found != self.vocabulary:
            raise InputError(
                f"The checkpoint was trained with {found!r}, but the data has "
                f"{self.vocabulary!r}, or other names; resume with the data it was trained on, and "
                "with the same labels held out."
            )
        (schedule,) = checkpoint["lr_schedulers"]
        # To compare now would make the loaders before the data module knows where to begin.
        self._resumed_steps = schedule["total_steps"]

    @classmethod
    def restore(cls, checkpoint: CheckpointFile, trust_code: bool = False) -> Self:
        """Restores a task from its checkpoint alone; no encoder or pretrained weights are read.

        Args:
            checkpoint: From `zsl.files.checkpoints.read_checkpoint`.
            trust_code: Whether classes outside of zsl that it names may be imported.

        Raises:
            InputError: Another version wrote it, or it names a class that is not trusted.
        """
        contents, settings = checkpoint.contents, checkpoint.settings
        try:
            vocabulary = Vocabulary.ordered(contents.names, contents.roles)
            encoder = encoder_from_recipe(contents.encoder, trust_code)
            encoder.remember(vocabulary.names, checkpoint.tensors["network.label_vectors"])
            parts = {
                name: restore_part(part, PARTS[name], trust_code) for name, part in settings.items()
            }
            parts["backbone"] = parts["backbone"].without_weights()
            task = cls(vocabulary, contents.image_size, encoder, **parts)
            task.load_state_dict(checkpoint.tensors)
        except LOAD_ERRORS as error:
            source = f"The checkpoint {checkpoint.path}"
            raise of_another_version(source, contents.version, error) from error
        return task


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
