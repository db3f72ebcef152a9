"""Queries that are not labels, trained beside the labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Target = Literal["absent", "uncertain", "present", "mixed"]
"""The target of an added query; `mixed` are the targets of its labels, mixed like them."""

DEGREE = {"absent": 0.0, "uncertain": 0.5, "present": 1.0}


class QueryAddition(nn.Module, ABC):
    """Adds `round(number · scale)` queries that are not labels.

    Args:
        number: Queries added to a step.
        target: Target of these queries.
    """

    def __init__(self, number: int, target: Target) -> None:
        super().__init__()
        self.number = number
        self.target = target

    def forward(self, queries: Tensor, targets: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """Returns what is added: queries (n, W) and targets (B, n)."""
        return self.make(queries, targets, round(self.number * scale))

    @abstractmethod
    def make(self, queries: Tensor, targets: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Returns `number` queries (n, W) and their targets (B, n)."""


class RandomQueries(QueryAddition):
    """Random vectors at the label vectors' own statistics: `μ_w + σ_w ε`, normal per element.

    Args:
        number: Queries added to a step.
        target: Target of these queries: absent, uncertain or present.
    """

    def make(self, queries: Tensor, targets: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Returns `number` queries (n, W) and their targets (B, n)."""
        std, mean = torch.std_mean(queries, dim=0, correction=0)
        vectors = mean + std * torch.randn(number, queries.shape[1], device=queries.device)
        return vectors, targets.new_full(
            (len(targets), number), DEGREE[self.target], dtype=torch.float32
        )


class MixedQueries(QueryAddition):
    """Mixtures of labels drawn at random: `Σ_i a_i v_i`, the shares `a` uniform on the simplex.

    With the target `mixed` the degree of the mixture in an image is `Σ_i a_i y_i`; it is unknown
    where that of one of the labels is.

    Args:
        number: Queries added to a step.
        target: Target of these queries.
        num_labels: Labels in a mixture, 2 or more.
    """

    def __init__(self, number: int, target: Target = "mixed", num_labels: int = 2) -> None:
        super().__init__(number, target)
        self.num_labels = num_labels

    def make(self, queries: Tensor, targets: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Returns `number` queries (n, W) and their targets (B, n)."""
        labels = (
            torch.rand(number, len(queries), device=queries.device).topk(self.num_labels).indices
        )
        shares = queries.new_empty(number, self.num_labels).exponential_()
        shares = shares / shares.sum(1, keepdim=True)
        return self.mix(queries, targets, labels, shares)

    def mix(
        self, queries: Tensor, targets: Tensor, labels: Tensor, shares: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mixes the labels (n, m) by their shares (n, m)."""
        vectors = torch.einsum("nm,nmw->nw", shares, queries[labels])
        if self.target != "mixed":
            degree = torch.full(
                (len(targets), len(labels)), DEGREE[self.target], device=queries.device
            )
            return vectors, degree
        mixed = targets[:, labels].float()
        degree = torch.einsum("nm,bnm->bn", shares, mixed)
        return vectors, degree.masked_fill((mixed < 0).any(2), -1.0)


class NeighbourQueries(MixedQueries):
    """Vectors between a label and one of its nearest: `(1 - λ) v_i + λ v_j`, λ uniform in [0, ½].

    The nearest are by cosine. Targets are those of `MixedQueries`.

    Args:
        number: Queries added to a step.
        target: Target of these queries.
        num_nearest: Number of nearest labels from which the other one is drawn.
    """

    def __init__(self, number: int, target: Target = "mixed", num_nearest: int = 5) -> None:
        super().__init__(number, target)
        self.num_nearest = num_nearest

    def make(self, queries: Tensor, targets: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Returns `number` queries (n, W) and their targets (B, n)."""
        chosen = torch.randint(len(queries), (number,), device=queries.device)
        directions = F.normalize(queries, dim=1)
        cosines = (directions[chosen] @ directions.T).scatter(1, chosen[:, None], -2.0)
        nearest = cosines.topk(min(self.num_nearest, len(queries) - 1)).indices
        drawn = torch.randint(nearest.shape[1], (number, 1), device=queries.device)
        other = nearest.gather(1, drawn)
        share = 0.5 * torch.rand(number, 1, device=queries.device)
        return self.mix(
            queries,
            targets,
            torch.cat([chosen[:, None], other], 1),
            torch.cat([1 - share, share], 1),
        )
