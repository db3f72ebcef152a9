"""Backbone and head together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from zsl.errors import require
from zsl.models.backbone import BackboneConfig
from zsl.models.calibration import Answers, Calibration, Goal
from zsl.models.closed_form import ClosedFormConfig, ClosedFormHead
from zsl.models.familiarity import FamiliarImages
from zsl.models.fixed_heads import FixedHeadConfig
from zsl.models.heads import HeadConfig
from zsl.models.remembered import Remembered, answer, remember
from zsl.models.scores import NormalisedScores, PreparedLabels, ScoresConfig
from zsl.models.seen_labels import most_similar_seen, seen_positions

_AT_ONCE = 64


class TaggerNetwork(nn.Module):
    """Scores labels for images: any, given as vectors, or those of a head of fixed classes.

    What is trained, shared and exported: a task and a `Tagger` hold the same tensors by the same
    names.

    Args:
        backbone: Images to features, which the head takes as tokens: `Backbone`, or a timm model
            without pooling.
        head: Turns tokens and label vectors into logits.
        label_vectors: float32 (L, W) of the labels that the network is queried with by default;
            None for a head of fixed classes.
        scores: Makes the scores of labels comparable in evaluation; None leaves the head's logits.
        closed_form: Scores labels beside the head in evaluation, where there is one.
        calibration: Makes probabilities and decisions of logits; None leaves that out.
        familiar: Tells images apart from those of validation; None leaves that out.
    """

    label_vectors: Tensor | None

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        label_vectors: Tensor | None = None,
        scores: NormalisedScores | None = None,
        closed_form: ClosedFormHead | None = None,
        calibration: Calibration | None = None,
        familiar: FamiliarImages | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.scores = scores
        self.closed_form = closed_form
        self.calibration = calibration
        self.familiar = familiar
        self.register_buffer("label_vectors", label_vectors)

    @classmethod
    def make(
        cls,
        backbone: BackboneConfig,
        head: HeadConfig | FixedHeadConfig,
        image_size: int,
        label_vectors: Tensor | None,
        num_seen: int,
        scores: ScoresConfig | None = None,
        closed_form: ClosedFormConfig | None = None,
    ) -> Self:
        """Makes backbone and head for a vocabulary.

        Args:
            backbone: Makes the backbone.
            head: Makes the head.
            image_size: Side of the square images in pixels.
            label_vectors: float32 (L, W); None for a head of fixed classes.
            num_seen: How many of the labels are trained; they come first. Of fixed classes all are.
            scores: Makes what makes scores comparable, for heads that are queried with vectors.
            closed_form: Makes what scores labels beside such a head.

        Raises:
            InputError: A setting is out of range, or the backbone or its weights can't be had.
        """
        is_size = isinstance(image_size, int) and image_size > 0
        require(is_size, f"image_size is {image_size!r}; expected a number of pixels, 1 or more.")
        made: Any = backbone.make(image_size)
        answering: dict[str, Any] = {
            "calibration": Calibration(num_seen),
            "familiar": FamiliarImages(made.token_dim),
        }
        if isinstance(head, FixedHeadConfig):
            return cls(made, head.make(made.token_dim, num_seen), **answering)
        assert label_vectors is not None
        seen = label_vectors[:num_seen]
        own_head: Any = head.make(made.token_dim, seen)
        if hasattr(made, "logit_scale") and hasattr(own_head, "logit_scale"):
            own_head.logit_scale.copy_(made.logit_scale)
        if scores is None:
            require(
                closed_form is None,
                "The scores of closed_form and of the head have no common scale; set scores too, "
                "or closed_form null.",
            )
            return cls(made, own_head, label_vectors, **answering)
        beside = None if closed_form is None else closed_form.make(made.token_dim, seen)
        with torch.no_grad():  # As in evaluation: a batch of one would spoil statistics.
            tokens = made.eval()(torch.zeros(1, 3, image_size, image_size))
        made.train()
        num_scorers = 1 if closed_form is None else 1 + closed_form.num_scores
        normalised = NormalisedScores(scores, tokens.shape[1:], seen, num_scorers)
        return cls(made, own_head, label_vectors, normalised, beside, **answering)

    @property
    def scoring(self) -> str:
        """How logits are made of scores, in words; empty where they are those of the head."""
        if self.scores is None:
            return ""
        text = str(self.scores.config)
        if self.closed_form is None:
            return text
        head, *best, _ = self.scores.weights.tolist()
        form = "the solved map (closed form)"
        form += " of the best parts of an image and of all of it" if any(best) else ""
        if not head:
            chosen = f"by {form} alone, since the trained head gained nothing in validation"
        else:
            share = "as much" if head == 1 else f"{head:g} times as much"
            chosen = f"by {form}, and by the trained head, which counts {share}"
        return f"{chosen}; {text}"

    def prepare(self, queries: Tensor) -> Any:
        """Does the work on queries, as `score` takes them, that needs no image.

        Returns:
            What `score` takes in place of the queries, for as long as its weights stay as they are.
        """
        if self.scores is None or self.training:
            return _prepare(self.head, queries)
        seen = self.scores.seen_vectors
        num_seen = len(seen)
        begins_with_seen = torch.equal(queries[:num_seen], seen)
        labels = queries if begins_with_seen else torch.cat([seen, queries])
        prepared = _prepare(self.head, labels)
        sample = self.scores.sample.to(seen.dtype).split(_AT_ONCE)
        sample_scores = [self.separate_scores(tokens, prepared, labels) for tokens in sample]
        scores = torch.cat(sample_scores, dim=1)
        spread = self._spread(scores, sample, labels)
        return PreparedLabels(
            prepared,
            labels,
            0 if begins_with_seen else num_seen,
            scores,
            spread,
            self.scores.log_odds(queries),
            self.scores.normalisation(scores, spread),
        )

    def select(self, prepared: Any, queries: Tensor, columns: Tensor) -> Any:
        """Returns what `prepare` would make of some of the queries; no sample is scored again.

        Args:
            prepared: What it made of all.
            queries: All L.
            columns: int64 (N,), positions of some.
        """
        if not isinstance(prepared, PreparedLabels):
            return _prepare(self.head, queries[columns])
        num_seen = prepared.normalisation.num_seen
        seen = torch.arange(num_seen, device=columns.device)
        kept = torch.cat([seen, prepared.first + columns])
        labels = prepared.labels[kept]
        return PreparedLabels(
            _prepare(self.head, labels),
            labels,
            num_seen,
            prepared.sample_scores[:, :, kept],
            prepared.spread[kept],
            prepared.log_odds[columns],
            prepared.normalisation.select(kept),
        )

    def answers(self, queries: Tensor, prepared: Any, goal: Goal) -> Answers | None:
        """Returns how logits become probabilities and decisions; None before that is fitted.

        Args:
            queries: float32 (L, W) label vectors, or int64 (L,) positions of fixed classes.
            prepared: What `prepare` made of them.
            goal: What decisions should reach.
        """
        calibration = self.calibration
        if calibration is None or not calibration.is_fitted:
            return None
        if self.label_vectors is None:
            positions = nearest = queries
            similarity = torch.ones(len(queries), device=queries.device)
        else:
            seen = self.label_vectors[: len(calibration.offsets)]
            positions = seen_positions(queries, seen)
            similarity, nearest = most_similar_seen(queries, seen)
        means = self.mean_logits(prepared, len(queries))
        scale, shift = calibration.log_odds(means, positions)
        sample = None
        if isinstance(prepared, PreparedLabels):
            sample = prepared.logits(prepared.sample_scores) * scale + shift
            sample = sample.sigmoid()
        thresholds = calibration.thresholds(sample, positions, goal)
        is_unlike = (positions < 0) & (similarity < calibration.least_similarity)
        return Answers(scale, shift, thresholds, similarity, nearest, is_unlike)

    def mean_logits(self, prepared: Any, num_labels: int) -> Tensor:
        """Returns the mean logits (L,) of labels over the stored sample; 0 where there is none."""
        if isinstance(prepared, PreparedLabels):
            return prepared.log_odds - 0.5  # To which standardised scores are shifted.
        return torch.zeros(num_labels, device=next(self.parameters()).device)

    def _spread(self, scores: Tensor, sample: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Returns `PreparedLabels.spread`, by the closed form if there is one.

        Args:
            scores: (P, M, L) of the sample.
            sample: Its tokens, in parts.
            labels: (L, W) label vectors.
        """
        closed_form, of_whole = self.closed_form, scores[-1]
        if isinstance(self.head, ClosedFormHead):
            closed_form, head = self.head, self.head
            of_whole = torch.cat([head.separate(tokens, labels)[-1] for tokens in sample])
        if closed_form is None:
            return torch.ones(len(labels), device=labels.device)
        return closed_form.deviation(labels) / of_whole.std(dim=0).clamp(min=1e-12)

    def remember(self, tokens: Tensor, seen: Any = None) -> Remembered:
        """Does the work on the tokens of B images that needs no label, or only the seen ones.

        Args:
            tokens: (B, T, C).
            seen: What `prepare` made of the seen labels, where scores are normalised: what these
                hold against any label is then made once. None leaves that to `score`.
        """
        closed_form = None if self.closed_form is None else self.closed_form.remember(tokens)
        remembered = Remembered(remember(self.head, tokens), closed_form)
        if not isinstance(seen, PreparedLabels):
            return remembered
        scores = self.separate_scores(remembered, seen.head, seen.labels)
        normalisation = seen.normalisation
        return remembered._replace(competition=normalisation.compete(normalisation.mix(scores)))

    def separate_scores(self, tokens: Tensor | Remembered, prepared: Any, labels: Tensor) -> Tensor:
        """Returns the scores (P, B, L) of each of the P scorers: first the head's.

        Args:
            tokens: What the backbone makes of B images, or what `remember` made of that.
            prepared: What the head prepared of the labels.
            labels: (L, W) label vectors.
        """
        scores = [self._head_scores(tokens, prepared)]
        if self.closed_form is not None:
            if isinstance(tokens, Tensor):
                projected = self.closed_form.remember(tokens)
            else:
                assert tokens.closed_form is not None
                projected = tokens.closed_form
            scores += self.closed_form.separate_answers(projected, labels)
        return torch.stack([part.float() for part in scores])

    def _head_scores(self, tokens: Tensor | Remembered, prepared: Any) -> Tensor:
        if isinstance(tokens, Remembered):
            return answer(self.head, tokens.head, prepared)
        return self.head(tokens, prepared)

    def forward(self, images: Tensor, queries: Any = None) -> Tensor:
        """Returns logits (B, L).

        Args:
            images: (B, 3, H, W), as the backbone takes them: `Backbone` uint8, or float in [0, 1].
            queries: As `score` takes them.
        """
        return self.score(self.backbone(images), queries)

    def score(self, tokens: Tensor | Remembered, queries: Any = None) -> Tensor:
        """Returns logits (B, L): in training those of the head, in evaluation the normalised ones.

        Args:
            tokens: What the backbone makes of B images, or what `remember` made of that.
            queries: float32 (L, W) label vectors, or what `prepare` made of them; for a head of
                fixed classes int64 (L,), the positions of some. None takes the network's own
                labels.
        """
        queries = self.label_vectors if queries is None else queries
        if queries is None or (isinstance(queries, Tensor) and not queries.is_floating_point()):
            # A head of fixed classes remembers the tokens themselves.
            logits = self.head(tokens.head if isinstance(tokens, Remembered) else tokens)
            return logits if queries is None else logits[:, queries]
        if isinstance(queries, PreparedLabels):
            if isinstance(tokens, Remembered) and tokens.competition is not None:
                asked = queries.labels[queries.first :]
                scores = self.separate_scores(tokens, _prepare(self.head, asked), asked)
                return queries.logits(scores, tokens.competition)
            return queries.logits(self.separate_scores(tokens, queries.head, queries.labels))
        if self.scores is None or self.training:
            return self._head_scores(tokens, queries)
        return self.score(tokens, self.prepare(queries))


def _prepare(scorer: nn.Module, queries: Tensor) -> Any:
    prepare = getattr(scorer, "prepare", None)
    return prepare(queries) if prepare else queries
