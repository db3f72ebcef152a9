"""Asking a network for labels of images, as scores, probabilities and decisions."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn

from zsl.errors import InputError, listing, require
from zsl.inference.image_batches import ImageLike, image_batches
from zsl.inference.prediction import Prediction, Selection
from zsl.labels import LabelEncoder, Role, Vocabulary
from zsl.models import Answers, Goal, Remembered, TaggerNetwork
from zsl.preprocessing import Resizing

_log = logging.getLogger(__name__)


class PreparedLabels(NamedTuple):
    """What `Scorer.score` needs of labels."""

    queries: Tensor
    """(L, W) label vectors, or int64 (L,)."""
    network: Any
    """What the network prepared of them."""
    answers: Answers | None
    """What makes probabilities and decisions of their logits; None leaves the scores as they are.
    """


class Scorer(nn.Module):
    """Scores labels for images: those it was trained on, and any others unless these are fixed.

    Args:
        vocabulary: Label names and roles.
        image_size: Side of the square images in pixels.
        resizing: How images become squares.
        encoder: Embeds new labels; None if the classes are fixed.
        network: Backbone and head, with the vectors of the names if they have any.
        scores_are_log_odds: Whether a sigmoid makes probabilities of the logits.
        scores_are_softmax: Whether a softmax over all classes does.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        image_size: int,
        resizing: Resizing,
        encoder: LabelEncoder | None,
        network: TaggerNetwork,
        scores_are_log_odds: bool,
        scores_are_softmax: bool,
    ) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.image_size = image_size
        self.resizing = resizing
        self.encoder = encoder
        self.network = network
        self.scores_are_softmax = scores_are_softmax
        self.scores_are_probabilities = scores_are_log_odds or scores_are_softmax

    @property
    def own_queries(self) -> Tensor:
        """Queries of the model's own L labels: their vectors, or the positions of fixed classes.

        Returns:
            (L, W), float32 unless the model was converted; or int64 (L,).
        """
        vectors, parameter = self.network.label_vectors, next(self.parameters())
        if vectors is None:
            return torch.arange(len(self.vocabulary), device=parameter.device)
        return vectors

    def embed(self, labels: Sequence[str] | None) -> tuple[list[str], Tensor]:
        """Returns L names and their queries, new ones embedded like the others.

        Args:
            labels: Names; None takes the model's own.

        Returns:
            The names; their vectors (L, W), or int64 (L,) the positions of fixed classes.

        Raises:
            InputError: There are none, one is empty or there twice, has no vector, or is not one of
                the fixed classes.
        """
        if labels is None:
            return self.vocabulary.names, self.own_queries
        names = [labels] if isinstance(labels, str) else list(labels)
        require(len(names) > 0, "There are no labels to score; give one at least.")
        Vocabulary(names, [Role.UNSEEN] * len(names))
        if self.encoder is not None:
            return names, self.encoder.encode(names).to(self.own_queries)
        try:
            return names, self.own_queries[self.vocabulary.indices(names)]
        except InputError as error:
            raise InputError(
                f"{error} The classes of this tagger are fixed; for other labels train with "
                "task: zsl.tasks.ZeroShotTask."
            ) from error

    def add_texts(self, texts: Mapping[str, str | Sequence[str]]) -> None:
        """Gives texts to new labels, such as a description, for a tagger trained with texts.

        They win over those of the file it was trained with. Its own labels keep the vectors with
        which they were trained.

        Args:
            texts: A text, or several, for each name.

        Raises:
            InputError: It was trained without texts, or a text is empty.
        """
        if self.encoder is None:
            raise InputError(
                "The classes of this tagger are fixed, so it takes no texts of labels."
            )
        given = {name: [own] if isinstance(own, str) else list(own) for name, own in texts.items()}
        for name, own in given.items():
            require(
                len(own) > 0 and all(text.strip() for text in own),
                f"A text of the label {name!r} is empty, or there is none; write one.",
            )
        self.encoder.add_texts(given)
        if trained := [name for name in given if name in self.vocabulary]:
            _log.warning(
                "note: the texts of %s are not used: these are labels of the tagger itself, whose "
                "vectors stay those it was trained with.",
                listing(trained),
            )

    def forward(self, images: Tensor, queries: Any = None) -> Tensor:
        """Returns logits (B, L).

        Args:
            images: (B, 3, S, S), uint8, or float in [0, 1].
            queries: From `embed`, or what `prepare` made of them; None takes those of the model's
                own labels.
        """
        return self.network(images, self.own_queries if queries is None else queries)

    def predict(
        self,
        images: ImageLike | Sequence[ImageLike],
        labels: Sequence[str] | None = None,
        top_k: int | None = None,
        threshold: float | None = None,
        batch_size: int = 32,
        decide: str | None = None,
        raw: bool = False,
    ) -> list[Prediction]:
        """Tags images.

        Args:
            images: Paths, or images of Pillow, or one of these.
            labels: Names to choose from, any; None takes the model's own.
            top_k: Most labels an image gets; None is 5, or with a threshold as many as reach it.
            threshold: Lowest score of a label.
            batch_size: Images per batch.
            decide: Keeps the labels that reach their own thresholds, chosen for `f1`, the best F1,
                or for example `precision=0.9`. Images that are unlike those of the training get
                none.
            raw: Gives the model's own scores in place of calibrated probabilities.

        Returns:
            Labels and scores of each image, the best first.

        Raises:
            InputError: An argument is out of range, an image can't be read, or a label has no
                vector; or `decide` is given, but the model has no calibration.
        """
        names, queries = self.embed(labels)
        prepared = self.prepare(queries, decide or "f1", raw)
        selection = self.selection(prepared, top_k, threshold, decide)
        predictions: list[Prediction] = []
        num_unlike = 0
        for tokens in self.token_batches(images, batch_size):
            are_unlike = self.is_unlike(tokens).tolist()
            num_unlike += sum(are_unlike)
            predictions += selection.apply(*self.score(tokens, prepared), names, are_unlike)
        if num_unlike:
            _log.warning("note: %s", unlike_images(num_unlike, len(predictions)))
        return predictions

    def selection(
        self,
        prepared: PreparedLabels,
        top_k: int | None = None,
        threshold: float | None = None,
        decide: str | None = None,
    ) -> Selection:
        """Returns which labels an image gets, as `predict` takes its arguments.

        Raises:
            InputError: An argument is out of range, or there is no calibration to decide by.
        """
        if decide is None:
            are_probabilities = self.scores_are_probabilities or prepared.answers is not None
            return Selection.of(top_k, threshold, are_probabilities)
        require(
            threshold is None,
            f"threshold is {threshold}, but decide={decide!r} has a threshold for each label; "
            "leave one of them out.",
        )
        if prepared.answers is None:
            calibration = self.network.calibration
            require(
                calibration is None or not calibration.is_fitted,
                f"raw scores are asked for, but the thresholds of decide={decide!r} are of "
                "calibrated probabilities; leave one of them out.",
            )
            raise InputError(
                f"This tagger has no thresholds for {decide!r}, since no calibration was fitted to "
                "it on validation images; give one threshold for all labels, or take the "
                "checkpoint of a training that has one."
            )
        return Selection.of(top_k, 0, True)._replace(
            threshold=prepared.answers.thresholds, abstains=True
        )

    def token_batches(
        self, images: ImageLike | Sequence[ImageLike], batch_size: int = 32
    ) -> Iterator[Tensor]:
        """Yields the backbone's tokens (B, T, C) of batches of images.

        Args:
            images: Paths, or images of Pillow, or one of these.
            batch_size: Images per batch.

        Raises:
            InputError: An image can't be read.
        """
        require(batch_size >= 1, f"batch_size is {batch_size}; expected 1 or more.")
        for batch in image_batches(_as_list(images), self.image_size, batch_size, self.resizing):
            for problem in batch.problems:
                raise problem
            yield self.tokens(batch.images)

    @torch.no_grad()
    def tokens(self, images: Tensor) -> Tensor:
        """Returns the backbone's tokens (B, T, C) of images uint8 (B, 3, S, S)."""
        return self.network.backbone(images.to(next(self.parameters()).device))

    @torch.no_grad()
    def prepare(self, queries: Tensor, goal: str = "f1", raw: bool = False) -> PreparedLabels:
        """Does the work on queries from `embed` once, for many calls of `score`.

        With scores that are standardised, that is scoring a sample of training images.

        Args:
            queries: (L, W) label vectors, or int64 (L,).
            goal: What decisions should reach: `f1`, or `precision=P`.
            raw: Leaves the calibration out.

        Raises:
            InputError: The goal is another one.
        """
        parsed = Goal.parse(goal)
        network = self.network.prepare(queries)
        return PreparedLabels(
            queries, network, None if raw else self.network.answers(queries, network, parsed)
        )

    @torch.no_grad()
    def is_unlike(self, tokens: Tensor) -> Tensor:
        """Returns bool (B,): whether images are unlike those on which the model was validated.

        Of images that are like those, one in a hundred is taken for unlike.

        Args:
            tokens: (B, T, C).
        """
        familiar = self.network.familiar
        if familiar is None:
            return torch.zeros(len(tokens), dtype=torch.bool)
        return familiar.is_unlike(tokens).cpu()

    @torch.no_grad()
    def score(
        self, tokens: Tensor | Remembered, queries: Tensor | PreparedLabels
    ) -> tuple[Tensor, Tensor]:
        """Scores labels for tokens.

        Args:
            tokens: (B, T, C), or what `network.remember` made of them.
            queries: From `embed`, or what `prepare` made of them.

        Returns:
            Logits (B, L) for ranking, and scores (B, L) to show: probabilities, or the logits where
            these are not log-odds.

        Raises:
            InputError: A logit is not a number.
        """
        labels = self.prepare(queries) if isinstance(queries, Tensor) else queries
        # A softmax is over all classes, whichever of them are asked for.
        own = None if self.scores_are_softmax else labels.network
        logits = self.network.score(tokens, own).float()
        require(
            not bool(logits.isnan().any()),
            "The model's scores are not numbers (NaN), since its weights or label vectors are not; "
            "take an earlier checkpoint, or train again.",
        )
        if self.scores_are_softmax:
            # Logits themselves can be shifted from image to image, so they do not rank images.
            logits = logits.log_softmax(dim=1)[:, labels.network]
            return logits, logits.exp()
        if labels.answers is not None:
            logits = labels.answers.logits(logits)
            return logits, logits.sigmoid()
        return logits, logits.sigmoid() if self.scores_are_probabilities else logits


def unlike_images(number: int, of: int) -> str:
    """Says how many images are unlike those of the training."""
    are, them = ("is", "it") if number == 1 else ("are", "them")
    return (
        f"{number:,} of {of:,} images {are} unlike those the tagger was trained on (of images like "
        f"those, about 1 in 100 is); what it says about {them} means little."
    )


def _as_list(images: ImageLike | Sequence[ImageLike]) -> Sequence[ImageLike]:
    return [images] if isinstance(images, str | Path | Image.Image) else images
