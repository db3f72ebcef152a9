"""The ML-Decoder head, operated with word queries.

Ridnik et al., "ML-Decoder: Scalable and Versatile Classification Head", arXiv 2111.12933.
There is no self-attention between queries, so the logit of a label
does not depend on which other labels are asked, and all that concerns the queries alone is
computed once per call and not once per image.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsl.errors import InputError


class CrossAttention(nn.Module):
    """Multi-head attention from queries that all images share to the tokens of each image.

    Args:
        dim: Width D of queries and tokens.
        num_heads: Number of heads; divides `dim`.
        dropout: Dropout rate on the attention weights.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        # As torch.nn.MultiheadAttention does, which the published head uses: there the three
        # projections are one (3D, D) matrix, and Xavier's bound counts all its rows.
        for projection in (self.query, self.key, self.value):
            nn.init.xavier_uniform_(projection.weight, gain=0.5**0.5)
            nn.init.zeros_(projection.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Attends from (L, D) queries to (B, T, D) tokens; returns (B, L, D)."""
        query = self._split_heads(self.query(queries).unsqueeze(0))
        attended = F.scaled_dot_product_attention(
            query.expand(len(tokens), -1, -1, -1),
            self._split_heads(self.key(tokens)),
            self._split_heads(self.value(tokens)),
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.out(attended.transpose(1, 2).flatten(2))

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class DecoderLayer(nn.Module):
    """The decoder layer of ML-Decoder: cross-attention and feed-forward, no self-attention.

    Args:
        dim: Width D of queries and tokens.
        num_heads: Number of attention heads; divides `dim`.
        feedforward_dim: Width of the hidden layer of the feed-forward part.
        dropout: Dropout rate. The mask on the queries is shared by the images of a batch, since
            that part is computed once.
    """

    def __init__(self, dim: int, num_heads: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)
        self.attention = CrossAttention(dim, num_heads, dropout)
        self.feedforward = nn.Sequential(
            nn.Linear(dim, feedforward_dim),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(feedforward_dim, dim),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Decodes (L, D) queries against (B, T, D) tokens to (B, L, D)."""
        queries = self.norm1(queries + self.dropout(queries))
        decoded = self.norm2(queries + self.dropout(self.attention(queries, tokens)))
        return self.norm3(decoded + self.dropout(self.feedforward(decoded)))


class MLDecoder(nn.Module):
    """Scores labels, given as vectors, against the tokens of images.

    Args:
        token_dim: Width C of the backbone's tokens.
        query_dim: Width W of the label vectors.
        embed_dim: Width D of the decoder.
        num_heads: Number of attention heads; divides `embed_dim`.
        feedforward_dim: Width of the hidden layer of the feed-forward part.
        dropout: Dropout rate throughout the decoder.

    Raises:
        InputError: `num_heads` does not divide `embed_dim`.
    """

    def __init__(
        self,
        token_dim: int,
        query_dim: int,
        embed_dim: int = 768,
        num_heads: int = 8,
        feedforward_dim: int = 2048,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise InputError(
                f"embed_dim {embed_dim} is not divisible by num_heads {num_heads}; "
                "choose a multiple."
            )
        self.embed_tokens = nn.Linear(token_dim, embed_dim)
        self.embed_queries = nn.Linear(query_dim, embed_dim)
        self.layer = DecoderLayer(embed_dim, num_heads, feedforward_dim, dropout)
        # One readout shared by all queries: any number of labels can be asked.
        self.readout = nn.Linear(embed_dim, 1)
        nn.init.xavier_normal_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)

    def forward(self, tokens: Tensor, queries: Tensor) -> Tensor:
        """Returns the logits (B, L) of L queries (L, W) for the tokens (B, T, C) of B images."""
        decoded = self.layer(F.relu(self.embed_queries(queries)), F.relu(self.embed_tokens(tokens)))
        # Half-precision logits tie, which spoils rankings.
        with torch.autocast(decoded.device.type, enabled=False):
            return self.readout(decoded.to(self.readout.weight.dtype)).squeeze(-1)
