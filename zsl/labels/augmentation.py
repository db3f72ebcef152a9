"""Augmentation of the label vectors while they serve as queries.

A training step asks L labels with the vectors `v`. In this order, it may leave labels out (query
dropout), ask queries that are no label (query addition), and put noise on all of them. ML-Decoder
(Ridnik et al., arXiv 2111.12933) names query augmentations, its code has none; the formulas are
ours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Target = Literal["absent", "uncertain", "present", "mixed"]
"""What is taught about an added query; `mixed` are the targets of its labels, mixed like them."""

_DEGREE = {"absent": 0.0, "uncertain": 0.5, "present": 1.0}


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


class QueryAddition(nn.Module, ABC):
    """Asks queries that are no label, as many as `round(number · scale)`.

    Args:
        number: Queries added to a step.
        target: What is taught about them.
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
        """Makes that many."""


class RandomQueries(QueryAddition):
    """Random vectors at the label vectors' own statistics: `μ_w + σ_w ε`, normal per element.

    Args:
        number: Queries added to a step.
        target: What is taught about them: absent, uncertain or present.
    """

    def make(self, queries: Tensor, targets: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Makes that many."""
        std, mean = torch.std_mean(queries, dim=0, correction=0)
        vectors = mean + std * torch.randn(number, queries.shape[1], device=queries.device)
        return vectors, targets.new_full(
            (len(targets), number), _DEGREE[self.target], dtype=torch.float32
        )


class MixedQueries(QueryAddition):
    """Mixtures of labels drawn at random: `Σ_i a_i v_i`, the shares `a` uniform on the simplex.

    With the target `mixed` an image has the mixture by the degree `Σ_i a_i y_i`; it is unknown
    where one of the labels is.

    Args:
        number: Queries added to a step.
        target: What is taught about them.
        num_labels: Labels in a mixture, 2 or more.
    """

    def __init__(self, number: int, target: Target = "mixed", num_labels: int = 2) -> None:
        super().__init__(number, target)
        self.num_labels = num_labels

    def make(self, queries: Tensor, targets: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Makes that many."""
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
                (len(targets), len(labels)), _DEGREE[self.target], device=queries.device
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
        target: What is taught about them.
        num_nearest: Number of nearest labels from which the other one is drawn.
    """

    def __init__(self, number: int, target: Target = "mixed", num_nearest: int = 5) -> None:
        super().__init__(number, target)
        self.num_nearest = num_nearest

    def make(self, queries: Tensor, targets: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Makes that many."""
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


class GaussianNoise(nn.Module):
    """`q + strength · s · ε`, `s` the standard deviation over all elements, `ε` standard normal.

    Args:
        strength: Relative to the vectors' own scale.
    """

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = strength

    def forward(self, queries: Tensor, scale: float) -> Tensor:
        """Returns noisy queries (L, W)."""
        if not self.strength:
            return queries
        return queries + self.strength * scale * queries.std() * torch.randn_like(queries)


class DirectionalNoise(nn.Module):
    """Turns each query on its sphere: `‖q‖ (cos θ q̂ + sin θ û)`, `θ = strength · |ε|`.

    û is a random direction across q̂, ε standard normal.

    Args:
        strength: In radians; 0.5 turns by 23 degrees in the mean.
    """

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = strength

    def forward(self, queries: Tensor, scale: float) -> Tensor:
        """Returns turned queries (L, W) of the same lengths."""
        if not self.strength:
            return queries
        length = queries.norm(dim=1, keepdim=True)
        direction = F.normalize(queries, dim=1)
        random = torch.randn_like(queries)
        across = F.normalize(random - (random * direction).sum(1, keepdim=True) * direction, dim=1)
        angle = self.strength * scale * torch.randn_like(length).abs()
        return length * (angle.cos() * direction + angle.sin() * across)
