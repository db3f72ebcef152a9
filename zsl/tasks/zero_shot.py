"""The LightningModules: where labels, data, model, loss and metrics meet."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, WeightAveraging
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import get_ema_multi_avg_fn

from zsl.data import Batch, MultiLabelDataModule
from zsl.errors import InputError, require
from zsl.files.checkpoints import MISFITS, of_another_version, read_checkpoint
from zsl.files.digests import weights_digest
from zsl.labels import LabelEncoder, QueryAugmentation, Role, Vocabulary, encoder_from_recipe
from zsl.losses import make_loss
from zsl.metrics import Evaluation, Predictions, evaluate
from zsl.models import make_network
from zsl.models.heads import Head
from zsl.versions import __version__


class ZeroShotTask(pl.LightningModule):
    """Trains a tagger on the seen labels; selects on held-out ones; tests on unseen ones.

    Args:
        vocabulary: Label names and roles, from the data.
        image_size: Side of the square images in pixels, from the data.
        encoder: Makes the label vectors.
        backbone: A model name of timm.
        weights: Backbone weights: `pretrained` (timm's), `packaged` (EfficientNet-Lite0 of the
            demo extra), the path of a local file, or None for a random initialisation.
        stride: Pixels per token along each side; None takes the backbone's final features.
        freeze_backbone: Trains the head alone.
        head: `ml_decoder`, or a baseline, without use for the decoder's arguments: `bilinear`;
            `fast0tag`, of which `feedforward_dim` and `dropout` are the hidden layer's; `conse`;
            `clip`, CLIP's image tower against its text tower, which is not trained.
        pool_tokens: Shows the head the mean of the backbone's tokens instead of all of them.
        num_groups: Number of group queries, made of the seen labels' vectors, for group decoding,
            at most one for each of them: the decoder's cost grows with the groups and no longer
            with the labels. None is full decoding, one query for each label.
        embed_dim: Width of the decoder.
        num_heads: Attention heads of the decoder; divides `embed_dim`.
        feedforward_dim: Hidden width of the decoder's feed-forward part.
        dropout: Dropout rate in the decoder.
        query_relu: Passes the projected queries through a ReLU, as the published head does.
        seen_span: Uses of each label vector only the part in the span of the seen labels' vectors.
        num_combined: Seen labels of which `conse` combines the vectors, its T.
        query_noise: Strength of the noise on the queries, relative to the label vectors' scale.
        query_rotation: Strength of noise on the queries' directions, in radians.
        query_dropout: Part of the labels that is not asked in a step.
        random_queries: Random vectors asked in a step beside the labels.
        random_query_target: What is taught about them: absent, uncertain or present.
        mixed_queries: Mixtures of labels asked in a step.
        labels_per_mixture: Labels in each of these.
        neighbour_queries: Vectors between a label and one of its nearest asked in a step.
        mixed_query_target: What is taught about mixtures and neighbours: the mixture of their
            labels' targets, or absent, uncertain or present.
        query_ramp: Part of the training in which the strengths of all these rise from 0.
        loss: `asymmetric`, or `ranking`, which compares an image's labels in pairs and has no use
            for the next three.
        gamma_negative: Focusing of the asymmetric loss on absent labels.
        gamma_positive: Focusing of the asymmetric loss on present labels.
        clip: Probability below which an absent label costs nothing.
        learning_rate: Peak of the one-cycle schedule.
        optimizer: `adamw`, or `adam`, which adds the weight decay to the gradient.
        weight_decay: Not on biases and norms.
        warmup: Part of the training in which the learning rate rises.
        ema_decay: Decay per step of the moving average of the weights, which is what is
            validated and saved; step n takes (1 + n) / (10 + n) where that is less. None turns
            it off.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        image_size: int,
        encoder: LabelEncoder,
        backbone: str = "resnet50",
        weights: str | None = "pretrained",
        stride: int | None = None,
        freeze_backbone: bool = False,
        head: Head = "ml_decoder",
        pool_tokens: bool = False,
        num_groups: int | None = None,
        embed_dim: int = 768,
        num_heads: int = 8,
        feedforward_dim: int = 2048,
        dropout: float = 0.1,
        query_relu: bool = True,
        seen_span: bool = False,
        num_combined: int = 10,
        query_noise: float = 0.0,
        query_rotation: float = 0.0,
        query_dropout: float = 0.0,
        random_queries: int = 0,
        random_query_target: Literal["absent", "uncertain", "present"] = "absent",
        mixed_queries: int = 0,
        labels_per_mixture: int = 2,
        neighbour_queries: int = 0,
        mixed_query_target: Literal["mixed", "absent", "uncertain", "present"] = "mixed",
        query_ramp: float = 0.0,
        loss: Literal["asymmetric", "ranking"] = "asymmetric",
        gamma_negative: float = 4.0,
        gamma_positive: float = 0.0,
        clip: float = 0.05,
        learning_rate: float = 1e-4,
        optimizer: Literal["adamw", "adam"] = "adamw",
        weight_decay: float = 1e-2,
        warmup: float = 0.2,
        ema_decay: float | None = None,
    ) -> None:
        super().__init__()
        require(num_heads >= 1, f"model.num_heads is {num_heads}; expected 1 or more.")
        require(0 <= dropout < 1, f"model.dropout is {dropout}; expected 0 to below 1.")
        require(learning_rate > 0, f"model.learning_rate is {learning_rate}; expected above 0.")
        require(weight_decay >= 0, f"model.weight_decay is {weight_decay}; expected 0 or more.")
        require(0 <= warmup < 1, f"model.warmup is {warmup}; expected 0 to below 1.")
        require(
            ema_decay is None or 0 < ema_decay < 1,
            f"model.ema_decay is {ema_decay}; expected between 0 and 1, or null.",
        )
        self.save_hyperparameters(ignore=["vocabulary", "image_size", "encoder"])
        self.vocabulary = vocabulary
        self.image_size = image_size
        self.encoder = encoder
        self._resumed_steps: int | None = None
        self.configure_queries()
        self.configure_model_parts()
        self.configure_losses()
        self.configure_metrics()

    def configure_queries(self) -> None:
        """Embeds the names; the vectors of each role are a buffer (L of that role, W)."""
        self.query_dim = self.encoder.encode(self.vocabulary.names).shape[1]
        self.columns: dict[Role, list[int]] = {}
        for role in Role:
            names = self.vocabulary.select(role)
            self.columns[role] = self.vocabulary.indices(names)
            vectors = self.encoder.encode(names) if names else torch.empty(0, self.query_dim)
            self.register_buffer(f"{role}_vectors", vectors)
        num_seen = len(self.columns[Role.SEEN])
        self.augmentation = QueryAugmentation.from_settings(self.hparams, num_seen)

    def configure_model_parts(self) -> None:
        """Makes backbone and head."""
        self.tagger = make_network(self.hparams, self.image_size, self.queries(Role.SEEN))

    def configure_losses(self) -> None:
        """Makes the loss."""
        self.loss = make_loss(self.hparams["loss"], self.hparams)

    def configure_metrics(self) -> None:
        """Makes the collector of scores."""
        self.predictions = Predictions()

    def queries(self, *roles: Role) -> Tensor:
        """Returns the label vectors (L, W) of the roles, one role after the other."""
        return torch.cat([self.get_buffer(f"{role}_vectors") for role in roles])

    def forward(self, images: Tensor, queries: Tensor) -> Tensor:
        """Returns logits (B, L) of images (B, 3, H, W) for queries (L, W)."""
        return self.tagger(images, queries)

    def setup(self, stage: str) -> None:
        """Refuses tokens of another backbone.

        Raises:
            InputError: The data's feature store was not made with this frozen backbone.
        """
        # Loaders may also be given without a data module.
        datamodule = getattr(self.trainer, "datamodule", None)
        if datamodule is not None and (store := datamodule.feature_store):
            require(
                self.hparams["freeze_backbone"],
                "data.features serves the tokens of a frozen backbone; set model.freeze_backbone "
                "true, or data.features null.",
            )
            store.check_backbone(self.backbone_recipe)

    @property
    def backbone_recipe(self) -> dict[str, Any]:
        """What the tokens of an image depend on, plain values."""
        return {
            "backbone": self.hparams["backbone"],
            "weights": weights_digest(self.tagger.backbone),
            "stride": self.hparams["stride"],
            "image_size": self.image_size,
        }

    def _score(self, batch: Batch, queries: Tensor) -> Tensor:
        """Returns logits (B, L) of a batch of images, or of their stored tokens."""
        if "tokens" in batch:
            return self.tagger.decoder(batch["tokens"].float(), queries)
        return self(batch["image"], queries)

    def training_step(self, batch: Batch) -> Tensor:
        """The loss on the seen labels."""
        targets = batch["target"][:, self.columns[Role.SEEN]]
        if self.augmentation.ramp:
            schedule: Any = self.lr_schedulers()
            self.augmentation.progress = self.global_step / schedule.total_steps
        queries, targets = self.augmentation(self.queries(Role.SEEN), targets)
        loss = self.loss(self._score(batch, queries), targets)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forgets the scores of the last epoch."""
        self.predictions.reset()

    def validation_step(self, batch: Batch) -> None:
        """Scores seen and held-out labels; the unseen ones have no part in selection."""
        self._predict(batch, Role.SEEN, Role.HELD_OUT)

    def on_validation_epoch_end(self) -> None:
        """Logs `val/...`, where the held-out labels stand for the unseen ones."""
        logged = self._evaluate(Role.SEEN, Role.HELD_OUT).logged("val")
        self.log("val/zsl/mAP", logged.pop("val/zsl/mAP"), prog_bar=True, sync_dist=True)
        self.log_dict(logged, sync_dist=True)

    def on_test_epoch_start(self) -> None:
        """Forgets earlier scores."""
        self.predictions.reset()

    def test_step(self, batch: Batch) -> None:
        """Scores all labels."""
        self._predict(batch, *Role)

    def on_test_epoch_end(self) -> None:
        """Logs `test/...`; keeps `predictions` and `evaluation` for the report."""
        self.evaluation = self._evaluate(*Role)
        self.log_dict(self.evaluation.logged("test"), sync_dist=True)

    def _predict(self, batch: Batch, *roles: Role) -> None:
        columns = [column for role in roles for column in self.columns[role]]
        logits = self._score(batch, self.queries(*roles))
        self.predictions.update(batch["index"], logits, batch["target"][:, columns])

    def predict_step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Scores all labels: logits float32 (B, L) and targets int8 (B, L), role after role."""
        columns = [column for role in Role for column in self.columns[role]]
        logits = self._score(batch, self.queries(*Role))
        return logits.float().cpu(), batch["target"][:, columns].cpu()

    def groups(self, *roles: Role) -> dict[str, list[int]]:
        """By name, columns of the scores of these roles: all (gzsl), the last (zsl), the seen."""
        num_asked = sum(len(self.columns[role]) for role in roles)
        return {
            "zsl": list(range(num_asked - len(self.columns[roles[-1]]), num_asked)),
            "gzsl": list(range(num_asked)),
            "seen": list(range(len(self.columns[Role.SEEN]))),
        }

    def _evaluate(self, *roles: Role) -> Evaluation:
        _, scores, targets = self.predictions.compute()
        return evaluate(scores, targets, self.groups(*roles))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimizer, without decay on 1-d parameters, and its one-cycle schedule per step."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        require(
            len(parameters) > 0,
            f"trainer.max_epochs is {self.trainer.max_epochs}, but model.head "
            f"{self.hparams['head']} on a frozen backbone has nothing to train; set it to 0.",
        )
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[self.hparams["optimizer"]]
        optimizer = kind(
            groups,
            lr=self.hparams["learning_rate"],
            weight_decay=self.hparams["weight_decay"],
        )
        steps = self._schedule_steps()
        schedule = OneCycleLR(
            optimizer,
            max_lr=self.hparams["learning_rate"],
            total_steps=steps,
            # OneCycleLR divides by zero where the first phase is one step long.
            pct_start=max(self.hparams["warmup"], 2 / steps),
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _schedule_steps(self) -> int:
        """Steps of the schedule: those of the run, but enough for a rise and a fall.

        Raises:
            InputError: The run is resumed from one with another number.
        """
        steps = max(10, int(self.trainer.estimated_stepping_batches))
        if self._resumed_steps not in (None, steps):
            raise InputError(
                f"The checkpoint's one-cycle schedule has {self._resumed_steps} steps, this run's "
                f"has {steps}; resume with the same epochs, data and batch size."
            )
        return steps

    def configure_callbacks(self) -> list[Callback]:
        """The moving average of the weights, shorter at first so that short runs gain too."""
        decay = self.hparams["ema_decay"]
        if not decay:
            return []

        def average(averaged: Any, current: Any, count: Any) -> None:
            # The multi-tensor average leaves constant buffers such as label vectors exact.
            get_ema_multi_avg_fn(min(decay, (1 + int(count)) / (10 + int(count))))(
                averaged, current, count
            )

        return [WeightAveraging(multi_avg_fn=average)]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what makes the checkpoint self-contained, in plain values."""
        datamodule: MultiLabelDataModule = self.trainer.datamodule  # type: ignore[attr-defined]
        checkpoint["zsl"] = {
            "version": __version__,
            "names": self.vocabulary.names,
            "roles": [role.value for role in self.vocabulary.roles],
            "image_size": self.image_size,
            "encoder": self.encoder.recipe,
            "data": datamodule.recipe,
            "data_fingerprint": datamodule.fingerprint,
            "precision": self.trainer.precision,
        }

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
    def from_checkpoint(cls, path: str | Path) -> ZeroShotTask:
        """Restores a task from its checkpoint alone; no encoder or pretrained weights are read.

        Raises:
            InputError: The file is missing, damaged, or no checkpoint of this product.
        """
        return cls.restore(read_checkpoint(path))

    @classmethod
    def restore(cls, checkpoint: dict[str, Any]) -> ZeroShotTask:
        """Restores a task from what `read_checkpoint` returned.

        Raises:
            InputError: Another version wrote it, with other arguments or tensors.
        """
        contents, state = checkpoint["zsl"], checkpoint["state_dict"]
        try:
            return cls._restore(contents, state, checkpoint["hyper_parameters"])
        except MISFITS as error:
            version = contents.get("version")
            raise of_another_version("The checkpoint", version, error) from error

    @classmethod
    def _restore(
        cls, contents: dict[str, Any], state: dict[str, Tensor], hparams: dict[str, Any]
    ) -> ZeroShotTask:
        vocabulary = Vocabulary(contents["names"], contents["roles"])
        encoder = encoder_from_recipe(contents["encoder"])
        for role in Role:
            encoder.remember(vocabulary.select(role), state[f"{role}_vectors"])
        task = cls(vocabulary, contents["image_size"], encoder, **hparams | {"weights": None})
        task.load_state_dict(state)
        return task
