"""Augmentation of the label vectors while they serve as queries.

A training step asks L labels with the vectors `v`. In this order, it may leave labels out (query
dropout), ask queries that are no label (query addition), and put noise on all of them. ML-Decoder
(Ridnik et al., arXiv 2111.12933) names query augmentations, its code has none; the formulas are
ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zsl.errors import require
from zsl.labels.query_addition import MixedQueries, NeighbourQueries, QueryAddition, RandomQueries
from zsl.labels.query_noise import DirectionalNoise, GaussianNoise


class QueryAugmentation(nn.Module):
    """Changes queries and targets of a training step together; the identity in evaluation.

    Args:
        dropout: `LabelDropout` of this rate.
        additions: Make the queries that are added.
        noise: `GaussianNoise` of this strength.
        rotation: `DirectionalNoise` of this strength, in radians.
        ramp: Part of the training in which all strengths rise from 0, linearly; 0 is constant.

    Attributes:
        progress: Part of the training that is done, from 0 to 1.
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

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], num_labels: int) -> QueryAugmentation:
        """Makes it of the arguments of `zsl.tasks.zero_shot.ZeroShotTask`.

        Args:
            settings: Among others `query_noise`, `random_queries` and so on.
            num_labels: Labels that are trained.

        Raises:
            InputError: A strength is out of range, or there are too few labels to mix.
        """
        for name in (
            "query_noise",
            "query_rotation",
            "random_queries",
            "mixed_queries",
            "neighbour_queries",
        ):
            require(settings[name] >= 0, f"model.{name} is {settings[name]}; expected 0 or more.")
        dropout, ramp = settings["query_dropout"], settings["query_ramp"]
        require(0 <= dropout < 1, f"model.query_dropout is {dropout}; expected 0 to below 1.")
        require(0 <= ramp <= 1, f"model.query_ramp is {ramp}; expected 0 to 1.")
        num_mixed = settings["labels_per_mixture"]
        require(num_mixed >= 2, f"model.labels_per_mixture is {num_mixed}; expected 2 or more.")
        for name, needed in (("mixed_queries", num_mixed), ("neighbour_queries", 2)):
            require(
                not settings[name] or num_labels >= needed,
                f"model.{name} is {settings[name]}; it needs {needed} seen labels or more, and "
                f"{num_labels} are trained.",
            )
        return cls(
            dropout=dropout,
            additions=[
                RandomQueries(settings["random_queries"], settings["random_query_target"]),
                MixedQueries(settings["mixed_queries"], settings["mixed_query_target"], num_mixed),
                NeighbourQueries(settings["neighbour_queries"], settings["mixed_query_target"]),
            ],
            noise=settings["query_noise"],
            rotation=settings["query_rotation"],
            ramp=ramp,
        )

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
    """Query dropout: labels that are not asked in this step.

    `max(1, L - ⌊rate · scale · L⌉)` labels are drawn without replacement.

    Args:
        rate: Part of the labels left out, from 0 to below 1.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, queries: Tensor, targets: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """Returns the queries and targets of the labels asked."""
        num_labels = len(queries)
        num_asked = max(1, num_labels - round(self.rate * scale * num_labels))
        if num_asked == num_labels:
            return queries, targets
        asked = torch.randperm(num_labels, device=queries.device)[:num_asked]
        return queries[asked], targets[:, asked]
