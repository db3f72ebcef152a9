"""The closed form: ridge regression from mean tokens to seen labels through their vectors.

It minimises, over A, the squared error of `(x_i − μ)ᵀ A v_s`, for images i and seen labels s, where
x_i is the mean token of an image, v_s a label vector of length 1, and the target is that of the
label less its mean, divided by the root of its standard deviation, so that rare labels count.
Romera-Paredes and Torr, "An embarrassingly simple approach to zero-shot learning", ICML 2015,
equation 5:

`A = (Cov(x) + γ m I)⁻¹ Cov(x, y) V (VᵀV + λ I)⁻¹`

with m the mean variance of the tokens' elements. To it, β times the map is added that makes the
weights of the backbone's own classes from their vectors, at the scale of A. γ, λ and β are chosen
on labels and images that are held out of the training ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from zsl.metrics import average_precision

NUM_FOLDS = 4
NUM_KEPT = 4000
IMAGE_STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
LABEL_STRENGTHS = (0.03, 0.1, 0.3, 1.0)
OWN_CLASS_WEIGHTS = (0.0, 0.25, 0.5)
_OWN_CLASS_STRENGTH = 3.0
_LEAST_LABELS = 2 * NUM_FOLDS
_LEAST_VARIANCE = 1e-12  # Of images that are all alike.


class Strengths(NamedTuple):
    """What is chosen: the defaults are for data with too few labels to choose on."""

    images: float = 1.0
    """γ."""
    labels: float = 0.3
    """λ."""
    own_classes: float = 0.25
    """β."""


@dataclass
class Moments:
    """Sums over images, in float64: all that the closed form needs of them.

    Unknown targets don't count.
    """

    count: int
    x: Tensor
    """(C,)."""
    xx: Tensor
    """(C, C)."""
    xy: Tensor
    """(C, S)."""
    x_known: Tensor
    """(C, S): sums over the images whose target is known."""
    y: Tensor
    """(S,)."""
    known: Tensor
    """(S,): number of known targets."""

    @classmethod
    def of(cls, x: Tensor, targets: Tensor) -> Moments:
        """Sums of mean tokens (B, C) and targets int8 (B, S)."""
        x, known = x.double(), (targets >= 0).double()
        y = (targets == 1).double()
        return cls(len(x), x.sum(0), x.T @ x, x.T @ y, x.T @ known, y.sum(0), known.sum(0))

    def __add__(self, other: Moments) -> Moments:
        """The sums over both."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Moments(*(one + another for one, another in pairs))

    def __sub__(self, other: Moments) -> Moments:
        """The sums without those of the other."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Moments(*(one - another for one, another in pairs))


class Ridge:
    """The closed form of some images and labels, for any strengths.

    Args:
        moments: Sums over the images.
        labels: bool (S,), the labels that take part.
    """

    def __init__(self, moments: Moments, labels: Tensor) -> None:
        self.mean = moments.x / moments.count
        covariance = moments.xx / moments.count - self.mean.outer(self.mean)
        frequency = moments.y / moments.known.clamp(min=1)
        products = (moments.xy - moments.x_known * frequency) / moments.count
        deviation = (frequency * (1 - frequency)).sqrt()
        self.variances, self.directions = torch.linalg.eigh(covariance)
        self.products = self.directions.T @ (products / (deviation + 1e-3).sqrt())[:, labels]

    def image_side(self, strength: float) -> Tensor:
        """Returns (C, S'), in the basis of `directions`: the map before the label vectors."""
        shrunk = self.variances.clamp(min=0) + strength * self.variances.mean()
        return self.products / shrunk.clamp(min=_LEAST_VARIANCE)[:, None]


def label_side(vectors: Tensor, strength: float) -> Tensor:
    """Returns `V (VᵀV + λI)⁻¹`, (S', W), of label vectors (S', W) of length 1."""
    gram = vectors.T @ vectors
    return torch.linalg.solve(gram + strength * torch.eye(len(gram)).to(gram), vectors.T).T


def own_class_map(vectors: Tensor, weights: Tensor) -> Tensor:
    """Returns the map (C, W) from label vectors to weights, of a backbone's own K classes.

    Args:
        vectors: (K, W), of length 1.
        weights: (K, C).
    """
    centred = (weights - weights.mean(dim=0)).to(vectors)
    return centred.T @ label_side(vectors, _OWN_CLASS_STRENGTH)


class ClosedFormFit:
    """Collects images, and solves the closed form.

    Args:
        vectors: (S, W) vectors of the seen labels.
        num_images: Number of training images.
        own_classes: (C, W) from `own_class_map`; None has no part in it.
    """

    def __init__(self, vectors: Tensor, num_images: int, own_classes: Tensor | None) -> None:
        self.vectors = F.normalize(vectors.double().cpu(), dim=1)
        self.own_classes = own_classes
        generator = torch.Generator().manual_seed(0)
        self.folds = torch.randint(NUM_FOLDS, (num_images,), generator=generator)
        self.kept = torch.zeros(num_images, dtype=torch.bool)
        self.kept[torch.randperm(num_images, generator=generator)[:NUM_KEPT]] = True
        order = torch.randperm(len(vectors), generator=generator)
        self.label_folds = torch.arange(len(vectors))[order] % NUM_FOLDS
        self.moments: list[Moments | None] = [None] * NUM_FOLDS
        self.samples: list[tuple[Tensor, Tensor, Tensor]] = []

    def update(self, index: Tensor, x: Tensor, targets: Tensor) -> None:
        """Adds images.

        Args:
            index: int64 (B,), their positions among the training images.
            x: (B, C), their mean tokens.
            targets: int8 (B, S) of the seen labels.
        """
        index, x, targets = index.cpu(), x.float().cpu(), targets.cpu()
        for fold in range(NUM_FOLDS):
            rows = self.folds[index] == fold
            if rows.any():
                new, old = Moments.of(x[rows], targets[rows]), self.moments[fold]
                self.moments[fold] = new if old is None else old + new
        rows = self.kept[index]
        self.samples.append((self.folds[index][rows], x[rows], targets[rows]))

    def solve(self) -> tuple[Tensor, Tensor, Tensor, Strengths]:
        """Returns μ float32 (C,), the map A float32 (C, W), `Aᵀ Cov(x) A`, and the strengths."""
        moments = [fold for fold in self.moments if fold is not None]
        total = moments[0]
        for fold in moments[1:]:
            total = total + fold
        few = len(self.vectors) < _LEAST_LABELS or len(moments) < NUM_FOLDS
        strengths = Strengths() if few else self._choose(total)
        ridge = Ridge(total, torch.ones(len(self.vectors), dtype=torch.bool))
        image_side = ridge.directions @ ridge.image_side(strengths.images)
        solved = image_side @ label_side(self.vectors, strengths.labels)
        if self.own_classes is not None and strengths.own_classes:
            x = torch.cat([x for _, x, _ in self.samples]).double() - ridge.mean
            own, found = (x @ part @ self.vectors.T for part in (self.own_classes, solved))
            solved = solved + strengths.own_classes * _scale(found, own) * self.own_classes
        rotated = ridge.directions.T @ solved
        covariance = rotated.T @ (ridge.variances.clamp(min=0)[:, None] * rotated)
        return ridge.mean.float(), solved.float(), covariance.float(), strengths

    def _choose(self, total: Moments) -> Strengths:
        """Chooses strengths by the geometric mean of the mAP of labels held out and trained."""
        means: dict[Strengths, list[float]] = {}
        for fold in range(NUM_FOLDS):
            for strengths, value in self._validate(total, fold):
                means.setdefault(strengths, []).append(value)
        return max(means, key=lambda strengths: sum(means[strengths]))

    def _validate(self, total: Moments, fold: int) -> Iterator[tuple[Strengths, float]]:
        """Holds a fold of images and of labels out; yields strengths, and how good they are."""
        trained = self.label_folds != fold
        own_moments = self.moments[fold]
        assert own_moments is not None
        ridge = Ridge(total - own_moments, trained)
        folds, xs, targets = (torch.cat(parts) for parts in zip(*self.samples, strict=True))
        x, y = xs[folds == fold].double() - ridge.mean, targets[folds == fold]
        rotated = x @ ridge.directions
        own = None if self.own_classes is None else x @ self.own_classes @ self.vectors.T
        sides = {
            strength: label_side(self.vectors[trained], strength) for strength in LABEL_STRENGTHS
        }
        for images in IMAGE_STRENGTHS:
            products = rotated @ ridge.image_side(images)
            for labels, side in sides.items():
                scores = products @ side @ self.vectors.T
                for weight in OWN_CLASS_WEIGHTS if own is not None else (0.0,):
                    mixed = scores
                    if own is not None and weight:
                        mixed = scores + weight * _scale(scores, own) * own
                    yield Strengths(images, labels, weight), _mean_map(mixed, y, trained)


def _scale(scores: Tensor, other: Tensor) -> Tensor:
    """By what the other scores (N, L) are multiplied to have the spread of the first."""
    spread, own = (part.std(dim=0, correction=0).mean() for part in (scores, other))
    return spread / own.clamp(min=1e-12)


def _mean_map(scores: Tensor, targets: Tensor, trained: Tensor) -> float:
    """Geometric mean of the mAP of the labels held out and of the trained ones; 0 without one."""
    ap: Any = average_precision(scores.float(), targets)
    held, seen = ap[~trained].nanmean(), ap[trained].nanmean()
    return float((held * seen).sqrt().nan_to_num(0))
