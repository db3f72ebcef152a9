"""Augmentation of the label vectors while they serve as queries."""

import torch
from torch import Tensor, nn


class QueryAugmentation(nn.Module):
    """Additive Gaussian noise on the queries of a training step; the identity in evaluation.

    `q' = q + noise · s · ε`, with `s` the standard deviation over all elements of the queries
    and `ε` standard normal per element, so that one strength suits vectors of any scale.

    Args:
        noise: Strength relative to the vectors' own scale; 0 turns it off.
    """

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        self.noise = noise

    def forward(self, queries: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Augments queries and targets together.

        Args:
            queries: float32 (L, W).
            targets: int8 (B, L).

        Returns:
            Queries and targets that belong together.
        """
        if self.training and self.noise > 0:
            queries = queries + self.noise * queries.std() * torch.randn_like(queries)
        return queries, targets
