"""Noise on label vectors while they serve as queries."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
        strength: In radians; 0.5 turns by 23 degrees on average.
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
