"""The zero-shot task: where labels, data, model, loss and metrics meet."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from zsl.data import Batch
from zsl.errors import InputError, require
from zsl.files.checkpoints import CheckpointFile
from zsl.labels import LabelEncoder, QueryAugmentationConfig, Role, Vocabulary, encoder_from_recipe
from zsl.losses import AsymmetricLoss, Loss
from zsl.metrics import KS, Evaluation, evaluate
from zsl.models import (
    BackboneConfig,
    ClosedFormConfig,
    ClosedFormHead,
    HeadConfig,
    MLDecoderConfig,
    NormalisedScores,
    ScoresConfig,
    TaggerNetwork,
    TimmBackboneConfig,
)
from zsl.tasks.optimization import OptimizationConfig
from zsl.tasks.pairing import pair_towers
from zsl.tasks.preparation import (
    TrainingImages,
    evaluating,
    keep_sample,
    measure_log_odds,
    solve_closed_form,
)
from zsl.tasks.task import Task

_HEAD_WEIGHTS = (0.0, 0.25, 0.5, 1.0)


class ZeroShotTask(Task):
    """Trains a tagger on the seen labels; selects on held-out ones; tests on unseen ones.

    Without unseen labels it tests on the held-out ones, and without these on the seen ones alone.

    Args:
        vocabulary: Label names and roles, from the data.
        image_size: Side of the square images in pixels, from the data.
        encoder: Makes the label vectors.
        backbone: Makes what turns images into tokens.
        head: Makes what turns tokens and label vectors into logits.
        augmentation: How queries are augmented in training.
        closed_form: A map that is solved before the first step, and scores labels beside the head
            in evaluation; how much the head counts is chosen in each validation, so that the two
            are never worse there than the closed form alone. None leaves it out.
        scores: Makes the scores of labels comparable in evaluation; None leaves the head's logits.
        loss: The loss on the seen labels.
        optimization: Optimizer, schedule and moving average of the weights.

    Raises:
        InputError: There are no seen labels, or the parts don't go together.
    """

    parts: ClassVar[dict[str, Any]] = {
        "backbone": BackboneConfig,
        "head": HeadConfig,
        "augmentation": QueryAugmentationConfig,
        "closed_form": ClosedFormConfig,
        "scores": ScoresConfig,
        "loss": Loss,
        "optimization": OptimizationConfig,
    }
    encoder: LabelEncoder

    def __init__(
        self,
        vocabulary: Vocabulary,
        image_size: int,
        encoder: LabelEncoder,
        backbone: BackboneConfig = TimmBackboneConfig(),
        head: HeadConfig = MLDecoderConfig(),
        augmentation: QueryAugmentationConfig = QueryAugmentationConfig(),
        closed_form: ClosedFormConfig | None = None,
        scores: ScoresConfig | None = None,
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
            TaggerNetwork.make(backbone, head, image_size, vectors, num_seen, scores, closed_form),
            backbone=backbone,
            head=head,
            augmentation=augmentation,
            closed_form=closed_form,
            scores=scores,
            loss=loss,
            optimization=optimization,
        )
        self.encoder = encoder
        self.augmentation = augmentation.make(num_seen)
        self.scores_are_log_odds = scores is not None or (
            head.scores_are_log_odds and loss.scores_are_log_odds
        )
        self._is_prepared = False
        solved = isinstance(head, ClosedFormConfig) or closed_form is not None
        require(
            backbone.frozen or not solved,
            "The closed form is solved for tokens that stay as they are, but the backbone is "
            "trained; set backbone.frozen true, or closed_form null.",
        )

    def queries(self, first: Role, last: Role | None = None) -> Tensor:
        """Returns the label vectors (L, W) of a role, or of those from `first` to `last`."""
        return self.network.get_buffer("label_vectors")[self.vocabulary.columns(first, last)]

    @property
    def closed_forms(self) -> list[ClosedFormHead]:
        """What is solved before the first step."""
        parts = (self.network.head, self.network.closed_form)
        return [part for part in parts if isinstance(part, ClosedFormHead)]

    def on_fit_start(self) -> None:
        """Learns what needs no step, unless a checkpoint brought it."""
        self._prepare()
        super().on_fit_start()

    def learn_without_steps(self) -> None:
        """Learns what needs no step, if that is yet to be done; takes a new sample in training."""
        self._prepare()
        if self.untrained.is_training and self.network.scores and not self.backbone.frozen:
            keep_sample(self.network.scores, self._training_images())
            self.untrained.keep()

    @property
    def _scores(self) -> NormalisedScores:
        assert self.network.scores is not None
        return self.network.scores

    def _training_images(self) -> TrainingImages:
        data = getattr(self.trainer, "datamodule", None)
        if data is None:
            raise InputError(
                "model.closed_form and model.scores learn from all training images; give the "
                "trainer a data module in place of loaders."
            )
        return TrainingImages(data, self._evaluated_tokens)

    def _evaluated_tokens(self, batch: Batch) -> Tensor:
        """Returns the tokens of a batch on any device, as in evaluation."""
        moved: Any = self.trainer.strategy.batch_to_device(batch)
        with evaluating(self.network.backbone), self.trainer.precision_plugin.forward_context():
            return self.tokens(moved)

    def _prepare(self) -> None:
        """Solves the closed form; takes the sample; measures how frequent labels are."""
        scores, closed_forms = self.network.scores, self.closed_forms
        if self._is_prepared or (scores is None and not closed_forms):
            return
        images = self._training_images()
        for head in closed_forms:
            solve_closed_form(head, self.queries(Role.SEEN), images, self.backbone, self.encoder)
        if scores is not None:
            keep_sample(scores, images)
            measure_log_odds(scores, images)
        self._is_prepared = True

    def validation_scores(self, tokens: Tensor, num_labels: int) -> Tensor:
        """Returns logits (B, L); of a head beside a closed form the scores of each, (B, P L)."""
        if self.network.closed_form is None:
            return super().validation_scores(tokens, num_labels)
        separate = self.network.separate_scores(tokens, self._queried.head, self._queried.labels)
        return torch.cat([*separate], dim=1)

    def validated(self, scores: Tensor, targets: Tensor) -> tuple[Tensor, Evaluation]:
        """Returns logits and figures; chooses how much each part counts beside the closed form."""
        if self.network.closed_form is None:
            return super().validated(scores, targets)
        separate = torch.stack(scores.split(targets.shape[1], dim=1))
        weights, logits, evaluation = self._choose_weights(separate, targets)
        if not self.trainer.sanity_checking:
            self._scores.weights.copy_(weights)
        return logits, evaluation

    def _choose_weights(
        self, separate: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor, Evaluation]:
        """Returns how much each scorer counts where that is best, and logits and figures of it.

        The head counts beside the closed form, and the closed form's best tokens don't count, where
        the gain in AP is more than its standard error, since validation images and labels held out
        may be few.

        Args:
            separate: (P, N, L), scores of the head and of the closed form.
            targets: int8 (N, L).
        """
        prepared = self._queried
        parts = (prepared.sample_scores, prepared.spread, prepared.log_odds)
        sample, spread, log_odds = (part.cpu() for part in parts)
        groups = self.groups(Role.HELD_OUT)
        choices = product(_HEAD_WEIGHTS, *[(1.0, 0.0)] * (len(separate) - 2), (1.0,))
        found: list[tuple[Tensor, Tensor, Evaluation]] = []
        for weights in map(torch.tensor, choices):
            combined = self._scores.normalisation(sample, spread, weights).combine(separate)
            logits = combined - 0.5 + log_odds
            found.append((weights, logits, self.evaluate(logits, targets, Role.HELD_OUT)))
        return max(found, key=lambda choice: _sure_gain(found[0][2], choice[2], groups))

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
            Where no label is unseen, `held_out` takes the place of `zsl` in a test; where none is
            held out either, `seen` is all there is.
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

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses to resume with other labels; what needs no step has been learnt."""
        super().on_load_checkpoint(checkpoint)
        self._is_prepared = True

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
        task = cls(vocabulary, checkpoint.contents.image_size, encoder, **parts)
        task._is_prepared = True
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


def _sure_gain(base: Evaluation, other: Evaluation, groups: Mapping[str, list[int]]) -> float:
    """Returns the gain in AP less its standard error over labels; of ZSL and seen labels the mean.

    Args:
        base: Without the head.
        other: With it, on the same images and labels.
        groups: Columns of the labels by name.
    """
    gain = other.average_precision - base.average_precision
    of_groups = [gain[groups[name]] for name in ("zsl", "seen") if name in groups]
    counted = [values[~values.isnan()] for values in of_groups]
    present = [values for values in counted if len(values) > 1]
    if not present:
        return 0.0
    mean = torch.stack([values.mean() for values in present]).mean()
    variances = [values.var() / len(values) for values in present]
    return float(mean - torch.stack(variances).sum().sqrt() / len(present))


def _groups(vocabulary: Vocabulary, last: Role) -> dict[str, list[int]]:
    columns = list(range(len(vocabulary)))
    seen = columns[vocabulary.columns(Role.SEEN)]
    name = "zsl"
    if last is Role.UNSEEN and not vocabulary.select(last):
        last, name = Role.HELD_OUT, "held_out"
    untrained = columns[vocabulary.columns(last)]
    if not untrained:
        return {"seen": seen}
    return {name: untrained, "gzsl": columns[vocabulary.columns(Role.SEEN, last)], "seen": seen}


def _check_roles(vocabulary: Vocabulary) -> None:
    """Refuses labels with which there is nothing to train."""
    require(
        len(vocabulary.select(Role.SEEN)) > 0,
        f"None of the {len(vocabulary)} labels of the data has the role seen; zero-shot learning "
        "trains on seen labels, so give some the role seen.",
    )
