"""Fast0Tag: an image is a direction along which its labels' vectors rank ahead of the others."""

from torch import Tensor, nn

from zsl.models.scores import unit_dot
from zsl.models.tokens import ToTokens


class Fast0TagHead(nn.Module):
    """Scores any labels, given as vectors, by `f(x̄) · v / ‖v‖`.

    x̄ is the mean of an image's tokens, f a network with one hidden layer that finds the image's
    principal direction in the space of the label vectors.

    Zhang, Gong and Shah, "Fast Zero-Shot Image Tagging", CVPR 2016, arXiv 1605.09759;
    their network is deeper. Trained with `zsl.losses.RankingLoss`.

    Args:
        token_dim: Width C of the backbone's tokens.
        query_dim: Width W of the label vectors.
        hidden_dim: Width of the hidden layer.
        dropout: Dropout rate on the hidden layer.
    """

    def __init__(self, token_dim: int, query_dim: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.to_tokens = ToTokens()
        self.direction = nn.Sequential(
            nn.Linear(token_dim, hidden_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, query_dim),
        )

    def forward(self, features: Tensor, queries: Tensor) -> Tensor:
        """Returns logits (B, L) of tokens (B, T, C) or a map for label vectors (L, W)."""
        return unit_dot(self.direction(self.to_tokens(features).mean(dim=1)), queries)
