"""The decoder of ML-Decoder: queries that all images share look at the tokens of each image.

Ridnik et al., "ML-Decoder: Scalable and Versatile Classification Head", arXiv 2111.12933.
There is no self-attention between queries, so the output of a query does not depend on which
others are queried, and what concerns the queries alone is computed once and not once per image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

_WEIGHTS_AT_ONCE = 2**22
# On a CPU about what its caches hold, on a GPU what fills it.
_HIDDEN_AT_ONCE_CPU = 2**22
_HIDDEN_AT_ONCE = 2**26


class PreparedQueries(NamedTuple):
    """What the decoder computes of Q queries before it sees an image."""

    normed: Tensor
    """(Q, D): the queries after the first norm."""
    projected: Tensor
    """(Q, D): these, projected for the attention."""


def join_parts(
    decode: Callable[..., Tensor], queries: Sequence[Tensor], hidden: int, recompute: bool = False
) -> Tensor:
    """Decodes Q queries a part at a time, so that memory does not grow with them.

    With gradients it does, unless activations are recomputed.

    Args:
        decode: Turns a part of `queries` into its results (B, queries, ...).
        queries: Tensors (Q, ...), all of which are cut into parts.
        hidden: Number of hidden activations that decoding one query takes.
        recompute: Keeps no activations of a part for the backward pass, which makes them again,
            with the same dropout (Chen et al., arXiv 1604.06174).

    Returns:
        The results (B, Q, ...).
    """
    # A graph has one part, since it must serve other numbers of queries.
    is_graph = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined]
    if is_graph and not recompute:
        return decode(*queries)
    # Large blocks are given back by a CPU's allocator, small ones between small results that last
    # are not: recomputed parts are large.
    in_caches = queries[0].device.type == "cpu" and not recompute
    at_once = _HIDDEN_AT_ONCE_CPU if in_caches else _HIDDEN_AT_ONCE
    size = max(1, at_once // max(1, hidden))
    parts = list(zip(*(tensor.split(size) for tensor in queries), strict=True))
    if recompute:
        again: Any = [checkpoint(decode, *part, use_reentrant=False) for part in parts]
        return torch.cat(again, dim=1)
    if len(parts) == 1 or torch.is_grad_enabled():
        return torch.cat([decode(*part) for part in parts], dim=1)
    # Small results kept between large ones that are freed would leave memory in pieces.
    first, *others = parts
    decoded = decode(*first)
    results = decoded.new_empty(len(decoded), len(queries[0]), *decoded.shape[2:])
    columns, *other_columns = results.split(size, dim=1)
    columns.copy_(decoded)
    for columns, part in zip(other_columns, others, strict=True):
        columns.copy_(decode(*part))
    return results


class Memory(NamedTuple):
    """The tokens of B images as keys and values of H heads, both (B, H, T, D / H)."""

    keys: Tensor
    values: Tensor


class CrossAttention(nn.Module):
    """Multi-head attention from queries that all images share to the tokens of each image.

    Args:
        dim: Width D of queries and tokens.
        num_heads: Number H of heads; divides `dim`.
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

    def remember(self, tokens: Tensor) -> Memory:
        """Turns tokens (B, T, D) into keys and values."""
        return Memory(self._split_heads(self.key(tokens)), self._split_heads(self.value(tokens)))

    def forward(self, projected: Tensor, memory: Memory) -> Tensor:
        """Attends from projected queries (Q, D) to the memory of B images; returns (B, Q, D)."""
        attended = F.scaled_dot_product_attention(
            self._split_heads(projected[None]).expand(memory.keys.shape[0], -1, -1, -1),
            memory.keys,
            memory.values,
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.out(attended.transpose(1, 2).flatten(2))

    def attend_directly(self, projected: Tensor, tokens: Tensor) -> Tensor:
        """Does what `forward` does, for few queries faster: no keys and values are made.

        The products `(Wq q)ᵀ (Wk x + b)` are those of the tokens x with `Wkᵀ Wq q`, but for what
        all tokens have in common, and values are made of the weighted sum of the tokens.

        Args:
            projected: (Q, D).
            tokens: (B, T, D), of which `remember` would make keys and values.
        """
        queries = projected.unflatten(1, (self.num_heads, -1)).transpose(0, 1)
        key, value = (
            part.weight.unflatten(0, (self.num_heads, -1)) for part in (self.key, self.value)
        )
        directions = (queries @ key).flatten(0, 1)  # (H · Q, D)
        products = tokens @ directions.T / queries.shape[-1] ** 0.5  # (B, T, H · Q)
        sums = (products.softmax(dim=1).mT @ tokens).unflatten(1, (self.num_heads, -1))
        # Head by head, since broadcasting would copy the weights for each image.
        attended = sums.transpose(0, 1).flatten(1, 2) @ value.mT  # (H, B · Q, D / H)
        attended = attended.transpose(0, 1).flatten(1).unflatten(0, (len(tokens), -1))
        return self.out(attended + self.value.bias)

    def weights(self, projected: Tensor, memory: Memory) -> Tensor:
        """Returns what `forward` weighs the values with, (B, H, Q, T); a query's sum to 1."""
        queries = self._split_heads(projected[None])
        products = queries @ memory.keys.mT / queries.shape[-1] ** 0.5
        return products.softmax(dim=-1)

    def mean_weights(self, projected: Tensor, memory: Memory) -> Tensor:
        """Returns the mean of the weights over heads, (B, Q, T), made for a part at a time."""
        parts = projected.split(max(1, _WEIGHTS_AT_ONCE // memory.keys[0, :, :, 0].numel()))
        images = (Memory(*pair) for pair in zip(*(t.split(1) for t in memory), strict=True))
        rows = [[self.weights(part, image).mean(dim=1) for part in parts] for image in images]
        return torch.cat([torch.cat(row, dim=1) for row in rows])

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
        self.feedforward_dim = feedforward_dim
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)
        self.attention = CrossAttention(dim, num_heads, dropout)
        self.feedforward = nn.Sequential(
            nn.Linear(dim, feedforward_dim),
            nn.ReLU(),  # In place on the view that a Linear returns would cost a copy.
            nn.Dropout(dropout),
            nn.Linear(feedforward_dim, dim),
        )
        self.dropout = nn.Dropout(dropout)

    def prepare(self, queries: Tensor) -> PreparedQueries:
        """Computes what needs no image, of queries (Q, D)."""
        normed = self.norm1(queries + self.dropout(queries))
        return PreparedQueries(normed, self.attention.query(normed))

    def forward(self, queries: PreparedQueries, memory: Memory) -> Tensor:
        """Decodes Q queries against the memory of B images; returns (B, Q, D)."""
        return self.decode(queries, self.attention(queries.projected, memory))

    def decode(self, queries: PreparedQueries, attended: Tensor) -> Tensor:
        """Decodes Q queries by what they attended to (B, Q, D)."""
        decoded = self.norm2(queries.normed + self.dropout(attended))
        return self.norm3(decoded + self.dropout(self.feedforward(decoded)))
