"""What a checkpoint answers: probabilities, thresholds, decisions, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zsl.files.images import read_image
from zsl.inference.gallery import Gallery, TokensOfFiles
from zsl.inference.heat_maps import LONG_SIDE, overlay
from zsl.inference.scorer import PreparedLabels
from zsl.inference.tagger import Tagger
from zsl.labels import Role
from zsl.labels.neighbours import nearest_seen
from zsl.models import Remembered

EVEN = 0.5
"""Threshold of a probability where the checkpoint holds no calibration."""


@dataclass(frozen=True)
class ImageAnswers:
    """Answers to L labels for N images.

    Args:
        labels: Their names.
        logits: Float (N, L), for ranking: they differ where probabilities round to the same.
        scores: Float (N, L): probabilities, or what the head has in their place, such as cosines.
        thresholds: Float (L,) of the scores: NaN where none is known, above 1 where no probability
            is enough.
        reasons: For each label, the seen labels it is near to; empty where they are not known. It
            says "only" where they are less near than seen labels are to each other.
        are_unlike: Bool (N,): images unlike those of the training, about which the answers mean
            little.
    """

    labels: list[str]
    logits: np.ndarray
    scores: np.ndarray
    thresholds: np.ndarray
    reasons: list[str]
    are_unlike: np.ndarray

    @cached_property
    def decisions(self) -> np.ndarray:
        """Bool (N, L): whether a label is accepted; none is for an unlike image."""
        return (self.scores >= self.thresholds) & ~self.are_unlike[:, None]

    def select(self, images: Sequence[int]) -> ImageAnswers:
        """Returns those for some of the images, in this order."""
        rows = list(images)
        return replace(
            self,
            logits=self.logits[rows],
            scores=self.scores[rows],
            are_unlike=self.are_unlike[rows],
        )

    def best_labels(self, image: int) -> list[int]:
        """The positions of the labels for an image, the best first."""
        return np.lexsort((-self.logits[image], -self.scores[image])).tolist()

    def best_images(self, label: int) -> list[int]:
        """The positions of the images for a label, the best first; equal ones as they came."""
        return np.argsort(-self.logits[:, label], kind="stable").tolist()


class Seen(NamedTuple):
    """What is kept of a batch of B images, so that a word takes the head alone."""

    remembered: Remembered
    are_unlike: Tensor
    """Bool (B,)."""


@torch.no_grad()
def see(tagger: Tagger, images: Tensor) -> Seen:
    """Looks at images uint8 (B, 3, S, S)."""
    tokens = tagger.tokens(images)
    return Seen(tagger.network.remember(tokens), tagger.is_unlike(tokens))


class IndexedImages:
    """Images of which an index on disk keeps what a batch of `Seen` holds.

    Args:
        tagger: Of the index.
        paths: Image files.
        folder: Of the index; it is made, or brought up to date.

    Attributes:
        paths: Those that can be read, in the order of the index.
    """

    def __init__(self, tagger: Tagger, paths: Sequence[Path], folder: Path) -> None:
        gallery = Gallery.build(tagger, paths, folder, compact=True)
        assert isinstance(gallery.tokens, TokensOfFiles)
        self._tokens = gallery.tokens
        self.paths = [path for path in gallery.sources if isinstance(path, Path)]

    def __iter__(self) -> Iterator[Seen]:
        """Yields batches, read anew each time, in the order of `paths`."""
        for remembered, are_unlike in self._tokens.remembered():
            yield Seen(remembered, are_unlike)


def ask(tagger: Tagger, images: Iterable[Seen], labels: Sequence[str] | None) -> ImageAnswers:
    """Asks labels of images.

    Args:
        tagger: Answers.
        images: N images in batches.
        labels: Any L names; None takes the tagger's own.

    Raises:
        InputError: A label has no vector, or is not one of the fixed classes.
    """
    names, queries = tagger.embed(labels)
    prepared = tagger.prepare(queries)
    scored = [(*tagger.score(batch.remembered, prepared), batch.are_unlike) for batch in images]
    columns = (torch.cat(parts).cpu().numpy() for parts in zip(*scored, strict=True))
    logits, scores, are_unlike = columns
    reasons = _reasons(tagger, names, queries, prepared)
    return ImageAnswers(
        names, logits, scores, _thresholds(tagger, prepared, len(names)), reasons, are_unlike
    )


def _thresholds(tagger: Tagger, prepared: PreparedLabels, count: int) -> np.ndarray:
    if prepared.answers is not None:
        return prepared.answers.thresholds.cpu().numpy()
    return np.full(count, EVEN if tagger.scores_are_probabilities else np.nan)


def _reasons(
    tagger: Tagger, names: Sequence[str], queries: Tensor, prepared: PreparedLabels
) -> list[str]:
    """Says for each of L labels whether it was trained, and else what it is near to."""
    seen = tagger.vocabulary.select(Role.SEEN)
    if queries.dim() == 1 or not seen:
        return ["trained" if name in seen else "" for name in names]
    vectors = torch.cat([tagger.own_queries[: len(seen)], queries]).float().cpu()
    nearest = nearest_seen([*seen, *names], vectors, len(seen))[0][len(seen) :]
    answers = prepared.answers
    are_unlike = [False] * len(names) if answers is None else answers.is_unlike.tolist()
    return [
        "trained" if name in seen else f"{'only ' if is_unlike else ''}near to {text}"
        for name, text, is_unlike in zip(names, nearest, are_unlike, strict=True)
    ]


class HeatMap(NamedTuple):
    """What in an image speaks for a label."""

    image: Image.Image
    """Dark where nothing does."""
    position: str
    """Where most does, in words."""


def heat_map(tagger: Tagger, path: Path, label: str) -> HeatMap:
    """Draws what in an image speaks for a label.

    Raises:
        InputError: The tagger sees the image as a whole, or the image can't be read any more.
    """
    tagger.check_heat_maps()
    (tokens,) = tagger.token_batches(path)
    heat = tagger.heat_maps(tokens, [label])[0, 0].cpu().numpy()
    image = tagger.resizing.seen_part(read_image(path))
    image.thumbnail((LONG_SIDE * 2, LONG_SIDE * 2))
    return HeatMap(overlay(image, heat), position_in_words(heat))


def position_in_words(heat: np.ndarray) -> str:
    """Says in which ninth of an image most speaks for a label.

    >>> position_in_words(np.array([[0, 2], [1, -1]]))
    'at the upper right'

    Args:
        heat: (H', W') contributions to the label's logit.
    """
    if heat.max() <= 0:
        return "nowhere"
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    height, width = heat.shape
    vertical = ("upper", "", "lower")[int((row + 0.5) / height * 3)]
    horizontal = ("left", "", "right")[int((column + 0.5) / width * 3)]
    words = " ".join(word for word in (vertical, horizontal) if word)
    if not words:
        return "in the middle"
    return f"at the {words}" if vertical and horizontal else f"at the {words} side"
