"""The simplest zero-shot head, for comparison: a bilinear map of image and label vector."""

import torch
from torch import Tensor, nn

from zsl.models.scores import unit_dot
from zsl.models.tokens import ToTokens


class BilinearHead(nn.Module):
    """Scores any labels, given as vectors, by `(A x̄ + a) · v / ‖v‖ + b`.

    x̄ is the mean of an image's tokens, A a learned map from width C to the vectors' width W. After
    DeViSE (Frome et al., 2013), trained with the loss of the other heads.

    Args:
        token_dim: Width C of the backbone's tokens.
        query_dim: Width W of the label vectors.
    """

    def __init__(self, token_dim: int, query_dim: int) -> None:
        super().__init__()
        self.to_tokens = ToTokens()
        self.map = nn.Linear(token_dim, query_dim)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, features: Tensor, queries: Tensor) -> Tensor:
        """Returns logits (B, L) of tokens (B, T, C) or a map for label vectors (L, W)."""
        mapped = self.map(self.to_tokens(features).mean(dim=1))
        return unit_dot(mapped, queries) + self.bias
