"""What the tasks have in common, whatever they train on: scoring, selection, test, checkpoint."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict
from math import ceil
from typing import Any, ClassVar, Self

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from zsl.data import Batch, MultiLabelDataModule
from zsl.data.shared_sampler import SharedSampler
from zsl.errors import InputError, require
from zsl.files.checkpoints import (
    LOAD_ERRORS,
    CheckpointContents,
    CheckpointFile,
    of_another_version,
)
from zsl.files.class_paths import class_path, describe_part, restore_part
from zsl.files.digests import weights_digest
from zsl.labels import LabelEncoder, Role, Vocabulary
from zsl.losses import Loss
from zsl.metrics import Evaluation, Predictions, Protocol, evaluate
from zsl.models import Answers, BackboneConfig, Goal, OpenCLIPBackbone, TaggerNetwork
from zsl.models.familiarity import KEPT
from zsl.tasks.calibration import fit_calibration
from zsl.tasks.callbacks import StepSeeds
from zsl.tasks.compilation import check_compiler
from zsl.tasks.optimization import OptimizationConfig, schedule_steps, steps_of
from zsl.tasks.preparation import UntrainedTensors, evaluating, share_buffers


class Task(pl.LightningModule, ABC):
    """Trains a network on some labels; selects a checkpoint on the validation images; tests it.

    `zsl.fit` makes the one that its config names by class path as `task`.

    Args:
        vocabulary: Label names and roles, from the data.
        image_size: Side of the square images in pixels, from the data.
        network: What is trained.
        parts: Settings by name: `backbone`, `loss`, `optimization` and those of the subclass. A
            checkpoint holds them, so they are plain values or frozen dataclasses of these.

    Attributes:
        encoder: What makes vectors of further labels; None where the classes are fixed.
        compiles: Whether PyTorch compiles the training step: backbone, and head with loss. What
            is validated and tested stays as it is, to the digit.
        evaluation: Figures of the last test.
        num_steps: Length of the schedule of the learning rate.
    """

    parts: ClassVar[dict[str, Any]]
    """Settings that a checkpoint holds and a resumed run takes over: their types by name."""

    encoder: LabelEncoder | None = None
    scores_are_log_odds: bool
    scores_are_softmax = False
    single_label = False
    evaluation: Evaluation
    protocol = Protocol()

    def __init__(
        self, vocabulary: Vocabulary, image_size: int, network: TaggerNetwork, **parts: Any
    ) -> None:
        super().__init__()
        self.save_hyperparameters(
            {
                name: part if part is None or self.parts[name] is bool else describe_part(part)
                for name, part in parts.items()
            }
        )
        self.vocabulary = vocabulary
        self.image_size = image_size
        self.network = network
        self.backbone: BackboneConfig = parts["backbone"]
        self.loss: Loss = parts["loss"]
        self.optimization: OptimizationConfig = parts["optimization"]
        self.predictions = Predictions()
        self.descriptions = Predictions()
        self.untrained = UntrainedTensors(network)
        self.compiles = False
        self._compiled: tuple[Callable[..., Tensor], Callable[..., Tensor]] | None = None
        self._resumed_steps: int | None = None
        self._queried: Any = None

    @abstractmethod
    def queries(self, first: Role, last: Role | None = None) -> Tensor | None:
        """Returns what the network is queried with for the labels from one role to another."""

    @abstractmethod
    def groups(self, last: Role = Role.UNSEEN) -> dict[str, list[int]]:
        """Returns the columns of the scores that are evaluated together, by name.

        Args:
            last: Labels up to this role have been scored.
        """

    @abstractmethod
    def training_step(self, batch: Batch) -> Tensor:
        """Returns the loss."""

    @property
    @abstractmethod
    def logged_names(self) -> list[str]:
        """What a training on this data logs."""

    @classmethod
    @abstractmethod
    def all_logged_names(cls, settings: Mapping[str, Any]) -> list[str]:
        """What a training can log, given enough labels.

        Args:
            settings: Arguments of the task.
        """

    def forward(self, images: Tensor, queries: Tensor | None = None) -> Tensor:
        """Returns logits (B, L) of images (B, 3, H, W) for queries (L, W)."""
        return self.network(images, queries)

    def setup(self, stage: str) -> None:
        """Refuses tokens of another backbone; compiles the step if it is to be.

        Raises:
            InputError: The data's feature store was not made with this frozen backbone, or
                PyTorch can't compile here.
        """
        if stage == "fit" and self.compiles:
            check_compiler(self.trainer.strategy.root_device)
            self._compiled = torch.compile(self.tokens), torch.compile(self.label_loss)
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

    def training_loss(self, batch: Batch, queries: Tensor | None, targets: Tensor) -> Tensor:
        """Returns the loss on targets (B, L), with that of a distillation, and logs them."""
        tokens_of, loss_of = self._compiled or (self.tokens, self.label_loss)
        tokens = tokens_of(batch)
        loss = loss_of(tokens, queries, targets)
        backbone = self.network.backbone
        if isinstance(backbone, OpenCLIPBackbone) and backbone.distils:
            distance = backbone.distance(batch["image"], tokens)
            self.log("train/distillation", distance)
            loss = loss + backbone.distillation * distance
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def label_loss(self, tokens: Tensor, queries: Any, targets: Tensor) -> Tensor:
        """Returns the loss of tokens (B, T, C) on targets (B, L)."""
        return self.loss(self.score_tokens(tokens, queries, targets.shape[1]), targets)

    def tokens(self, batch: Batch) -> Tensor:
        """Returns the tokens of a batch of images, or their stored ones."""
        if "tokens" in batch:
            return batch["tokens"].float()
        return self.network.backbone(batch["image"])

    def score(self, batch: Batch, queries: Any, num_labels: int) -> Tensor:
        """Returns logits (B, L).

        Args:
            batch: Images, or their stored tokens.
            queries: As `TaggerNetwork.score` takes them.
            num_labels: Number L of labels that are queried.

        Raises:
            InputError: The head made logits of another shape.
        """
        return self.score_tokens(self.tokens(batch), queries, num_labels)

    def score_tokens(self, tokens: Tensor, queries: Any, num_labels: int) -> Tensor:
        """Returns logits (B, L) of tokens (B, T, C); see `score`."""
        logits = self.network.score(tokens, queries)
        expected = (len(tokens), num_labels)
        if logits.shape != expected:  # A sentence made beforehand would tie a graph to the shape.
            raise InputError(
                f"{type(self.network.head).__name__} made logits of the shape "
                f"{tuple(logits.shape)}; expected {expected}, images and labels."
            )
        return logits

    def on_fit_start(self) -> None:
        """Keeps what is not trained."""
        self.untrained.keep()

    def on_train_end(self) -> None:
        """Keeps the average of the weights from what is not trained."""
        self.untrained.release()

    def on_validation_epoch_start(self) -> None:
        """Learns what needs no step; forgets earlier scores; does the head's work on the labels."""
        if self.trainer.world_size > 1:
            share_buffers(self.network)
        self.untrained.restore()
        self.learn_without_steps()
        self._begin(Role.HELD_OUT)

    def learn_without_steps(self) -> None:
        """Learns before a validation what is measured of the training images."""

    def validated(self, scores: Tensor, targets: Tensor) -> tuple[Tensor, Evaluation]:
        """Returns the logits (N, L) of what a validation collected, and their figures."""
        return scores, self.evaluate(scores, targets, Role.HELD_OUT)

    @property
    def is_calibrated(self) -> bool:
        """Whether there are probabilities for any label."""
        calibration = self.network.calibration
        return calibration is not None and calibration.is_fitted

    def forget_calibration(self) -> None:
        """Has it fitted anew."""
        if self.network.calibration is not None:
            self.network.calibration.weights.zero_()

    @torch.no_grad()
    def answers(self, goal: Goal) -> Answers | None:
        """Returns what makes probabilities and decisions of the logits of all labels, on the CPU.

        None before it is fitted.
        """
        queries = self.queries(Role.SEEN, Role.UNSEEN)
        if queries is None:
            queries = torch.arange(len(self.vocabulary))
        with evaluating(self.network):
            answers = self.network.answers(queries, self.network.prepare(queries), goal)
        return None if answers is None else Answers(*(part.cpu() for part in answers))

    def calibrate(self, scores: Tensor, targets: Tensor) -> None:
        """Fits probabilities and decisions to logits (N, L) of validation images."""
        calibration, vectors = self.network.calibration, self.network.label_vectors
        if calibration is None or self.scores_are_softmax:
            return
        if vectors is not None:
            vectors = vectors[: len(calibration.offsets)]
        means = self.network.mean_logits(self._queried, scores.shape[1])[: scores.shape[1]]
        if not fit_calibration(calibration, scores, targets, means.cpu(), vectors):
            self.forget_calibration()  # An earlier one is of other weights.

    def on_test_epoch_start(self) -> None:
        """Forgets earlier scores; does the head's work on the labels."""
        self._begin(Role.UNSEEN)

    def on_predict_epoch_start(self) -> None:
        """Does the head's work on all labels."""
        self._begin(Role.UNSEEN)

    def _begin(self, last: Role) -> None:
        self.predictions.reset()
        self.descriptions.reset()
        queries = self.queries(Role.SEEN, last)
        with self.trainer.precision_plugin.forward_context():
            self._queried = None if queries is None else self.network.prepare(queries)

    def validation_step(self, batch: Batch) -> None:
        """Scores seen and held-out labels; the unseen ones have no part in selection."""
        tokens = self.tokens(batch)
        targets = batch["target"][:, self.vocabulary.columns(Role.SEEN, Role.HELD_OUT)]
        scores = self.validation_scores(tokens, targets.shape[1])
        self.predictions.update(batch["index"], scores, targets)
        if self.network.familiar is not None:
            # Some of each batch, so that they are from everywhere, and all fit in memory.
            kept = slice(max(1, ceil(KEPT / self._num_val_batches)))
            described = self.network.familiar.describe(tokens[kept])
            # A column that nobody reads: PyTorch before 2.10 gathers no matrix without columns.
            self.descriptions.update(batch["index"][kept], described, targets[kept, :1])

    @property
    def _num_val_batches(self) -> float:
        """Batches of a validation, over all processes."""
        number: float = sum(self.trainer.num_val_batches) * self.trainer.world_size
        sampler = getattr(self.trainer.val_dataloaders, "sampler", None)
        # Some come twice, so that each process has equally many.
        return min(number, sampler.num_batches) if isinstance(sampler, SharedSampler) else number

    def validation_scores(self, tokens: Tensor, num_labels: int) -> Tensor:
        """Returns the scores that a validation collects of tokens (B, T, C): one row an image."""
        return self.comparable(self.score_tokens(tokens, self._queried, num_labels))

    def on_validation_epoch_end(self) -> None:
        """Logs `val/...`, where the held-out labels stand for the unseen ones; calibrates."""
        self.untrained.restore()
        _, scores, targets = self.predictions.compute()
        scores, evaluation = self.validated(scores, targets)
        if not self.trainer.sanity_checking:
            self.calibrate(scores, targets)
            if self.network.familiar is not None:
                self.network.familiar.keep(self.descriptions.compute()[1])
        if self.untrained.is_training:
            self.untrained.keep()
        logged = evaluation.logged("val")
        watched = getattr(self.trainer.checkpoint_callback, "monitor", None)
        # All processes have the same; a mean of them might be rounded.
        if watched in logged:
            value = logged.pop(watched)
            self.log(watched, value, prog_bar=True, sync_dist=True, reduce_fx="max")
        self.log_dict(logged, sync_dist=True, reduce_fx="max")

    def test_step(self, batch: Batch) -> None:
        """Scores all labels."""
        self.predictions.update(batch["index"], self._scores_of_all(batch), batch["target"])

    def on_test_epoch_end(self) -> None:
        """Logs `test/...`; keeps `predictions` and `evaluation` for the report."""
        _, scores, targets = self.predictions.compute()
        self.evaluation = self.evaluate(scores, targets)
        self.log_dict(self.evaluation.logged("test"), sync_dist=True, reduce_fx="max")

    def predict_step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Scores all labels: logits float32 (B, L) and targets int8 (B, L)."""
        return self._scores_of_all(batch).float().cpu(), batch["target"].cpu()

    def _scores_of_all(self, batch: Batch) -> Tensor:
        return self.comparable(self.score(batch, self._queried, len(self.vocabulary)))

    def comparable(self, logits: Tensor) -> Tensor:
        """Returns logits (B, L) as they rank images too: those of a softmax can be shifted."""
        return logits.float().log_softmax(dim=1) if self.scores_are_softmax else logits

    def evaluate(self, scores: Tensor, targets: Tensor, last: Role = Role.UNSEEN) -> Evaluation:
        """Computes the figures of scores (N, L) with targets (N, L) for labels up to a role."""
        return evaluate(scores, targets, self.groups(last), protocol=self.protocol)

    def probabilities(self, scores: Tensor) -> Tensor:
        """Returns what a report shows of logits (N, L), from 0 to 1."""
        return scores.softmax(dim=1) if self.scores_are_softmax else scores.sigmoid()

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
        planned = self.trainer.estimated_stepping_batches
        self.num_steps = schedule_steps(planned, self._resumed_steps)
        timm_model = getattr(self.network.backbone, "model", None)
        is_scaled = self.trainer.precision == "16-mixed"
        clips_scaled = is_scaled and bool(self.trainer.gradient_clip_val)
        return self.optimization.configure(trained, self.num_steps, timm_model, clips_scaled)

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
            scores_are_softmax=self.scores_are_softmax,
            encoder=self.encoder.recipe if self.encoder else None,
            data=datamodule.recipe,
            data_fingerprint=datamodule.fingerprint,
            precision=str(self.trainer.precision),
            resizing=asdict(datamodule.images.resizing),
        ).add_to(checkpoint)
        # Of averaged weights too, these are the network's own.
        tensors = self.untrained.named()
        checkpoint["state_dict"] |= {f"network.{name}": tensors[name].clone() for name in tensors}

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
        self._resumed_steps = steps_of(schedule)
        # Lightning keys the data's state by its class, and leaves it out for another one; the same
        # data may come from files or from shards.
        states = (part for part in checkpoint.values() if isinstance(part, dict))
        state = next((part for part in states if "num_batches_done" in part), None)
        if state is not None:
            datamodule: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            checkpoint[type(datamodule).__qualname__] = state

    @classmethod
    def restore(cls, checkpoint: CheckpointFile, trust_code: bool = False) -> Self:
        """Restores a task from its checkpoint alone; no encoder or pretrained weights are read.

        Args:
            checkpoint: From `zsl.files.checkpoints.read_checkpoint`.
            trust_code: Whether classes outside of zsl that it names may be imported.

        Raises:
            InputError: Another version wrote it, or it names a class that is not trusted.
        """
        contents = checkpoint.contents
        try:
            vocabulary = Vocabulary.ordered(contents.names, contents.roles)
            parts = {
                name: restore_part(part, cls.parts[name], trust_code)
                if isinstance(part, dict)
                else part
                for name, part in checkpoint.settings.items()
            }
            parts["backbone"] = parts["backbone"].without_weights()
            task = cls._restored(checkpoint, vocabulary, parts, trust_code)
            task.load_state_dict(checkpoint.tensors)
        except LOAD_ERRORS as error:
            source = f"The checkpoint {checkpoint.path}"
            raise of_another_version(source, contents.version, error) from error
        return task

    @classmethod
    def _restored(
        cls,
        checkpoint: CheckpointFile,
        vocabulary: Vocabulary,
        parts: dict[str, Any],
        trust_code: bool,
    ) -> Self:
        """Makes the task of a checkpoint, whose weights are yet to be loaded."""
        return cls(vocabulary, checkpoint.contents.image_size, **parts)
