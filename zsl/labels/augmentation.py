"""Augmentation of the label vectors while they serve as queries.

A training step queries L labels with their vectors. In this order, it may leave labels out (query
dropout), add queries that are not labels (query addition), and put noise on all of them. ML-Decoder
(Ridnik et al., arXiv 2111.12933) names query augmentations, its code has none; the formulas are
ours.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor, nn

from zsl.errors import require
from zsl.labels.query_addition import MixedQueries, NeighbourQueries, QueryAddition, RandomQueries
from zsl.labels.query_noise import DirectionalNoise, GaussianNoise


@dataclass(frozen=True)
class QueryAugmentationConfig:
    """How queries are augmented in training; by default they are not.

    Args:
        noise: Strength of Gaussian noise on the queries, relative to the label vectors' scale.
        rotation: Strength of noise on the queries' directions, in radians.
        dropout: Fraction of the labels that is left out of a step.
        random: Random vectors queried in a step beside the labels.
        random_target: Target of the random vectors: absent, uncertain (0.5) or present.
        mixed: Mixtures of labels queried in a step.
        labels_per_mixture: Labels in each mixture.
        neighbours: Vectors between a label and one of its nearest queried in a step.
        mixed_target: Target of mixtures and neighbours: that of their labels, mixed alike, or
            absent, uncertain or present.
        ramp: Fraction of the training over which all strengths rise linearly from 0.

    Raises:
        InputError: A strength is out of range.
    """

    noise: float = 0.0
    rotation: float = 0.0
    dropout: float = 0.0
    random: int = 0
    random_target: Literal["absent", "uncertain", "present"] = "absent"
    mixed: int = 0
    labels_per_mixture: int = 2
    neighbours: int = 0
    mixed_target: Literal["mixed", "absent", "uncertain", "present"] = "mixed"
    ramp: float = 0.0

    def __post_init__(self) -> None:
        """Refuses strengths out of range."""
        for name in ("noise", "rotation", "random", "mixed", "neighbours"):
            value = getattr(self, name)
            require(value >= 0, f"augmentation.{name} is {value}; expected 0 or more.")
        require(
            0 <= self.dropout < 1, f"augmentation.dropout is {self.dropout}; expected 0 to below 1."
        )
        require(0 <= self.ramp <= 1, f"augmentation.ramp is {self.ramp}; expected 0 to 1.")
        require(
            self.labels_per_mixture >= 2,
            f"augmentation.labels_per_mixture is {self.labels_per_mixture}; expected 2 or more.",
        )

    @property
    def changed(self) -> list[str]:
        """Names of the augmentations that are on."""
        how = ("random_target", "labels_per_mixture", "mixed_target", "ramp")
        return [f.name for f in fields(self) if f.name not in how and getattr(self, f.name)]

    def make(self, num_labels: int) -> QueryAugmentation:
        """Makes the augmentation for so many labels that are trained.

        Raises:
            InputError: There are too few labels to mix.
        """
        for name, needed in (("mixed", self.labels_per_mixture), ("neighbours", 2)):
            value = getattr(self, name)
            require(
                not value or num_labels >= needed,
                f"augmentation.{name} is {value}; it needs {needed} seen labels or more, and "
                f"{num_labels} are trained.",
            )
        additions = [
            RandomQueries(self.random, self.random_target),
            MixedQueries(self.mixed, self.mixed_target, self.labels_per_mixture),
            NeighbourQueries(self.neighbours, self.mixed_target),
        ]
        return QueryAugmentation(self.dropout, additions, self.noise, self.rotation, self.ramp)


class QueryAugmentation(nn.Module):
    """Changes queries and targets of a training step together; the identity in evaluation.

    Args:
        dropout: `LabelDropout` of this rate.
        additions: Make the queries that are added.
        noise: `GaussianNoise` of this strength.
        rotation: `DirectionalNoise` of this strength, in radians.
        ramp: Fraction of the training over which all strengths rise linearly from 0; 0 is constant.

    Attributes:
        progress: Fraction of the training that is done, from 0 to 1.
    """

    def __init__(
        self,
        dropout: float = 0.0,
        additions: list[QueryAddition] | None = None,
        noise: float = 0.0,
        rotation: float = 0.0,
        ramp: float = 0.0,
    ) -> None:
        super().__init__()
        self.dropout = LabelDropout(dropout)
        self.additions = nn.ModuleList(additions or [])
        self.noise = nn.ModuleList([GaussianNoise(noise), DirectionalNoise(rotation)])
        self.ramp = ramp
        self.progress = 1.0

    def forward(self, queries: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Augments queries and targets together.

        Args:
            queries: float32 (L, W) label vectors.
            targets: (B, L): 1 present, 0 absent, -1 unknown.

        Returns:
            Queries (L', W) and targets (B, L') that belong together.
        """
        if not self.training:
            return queries, targets
        scale = min(1.0, self.progress / self.ramp) if self.ramp else 1.0
        added = [part(queries, targets, scale) for part in self.additions if part.number]
        queries, targets = self.dropout(queries, targets, scale)
        queries = torch.cat([queries, *(vectors for vectors, _ in added)])
        targets = torch.cat([targets, *(degrees for _, degrees in added)], dim=1)
        for noise in self.noise:
            queries = noise(queries, scale)
        return queries, targets


class LabelDropout(nn.Module):
    """Query dropout: leaves labels out of this step.

    `max(1, L - ⌊rate · scale · L⌉)` labels are drawn without replacement.

    Args:
        rate: Fraction of the labels left out, from 0 to below 1.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, queries: Tensor, targets: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """Returns the queries and targets of the labels that are left."""
        num_labels = len(queries)
        num_kept = max(1, num_labels - round(self.rate * scale * num_labels))
        if num_kept == num_labels:
            return queries, targets
        kept = torch.randperm(num_labels, device=queries.device)[:num_kept]
        return queries[kept], targets[:, kept]
