"""The ML-Decoder head: what its three modes have in common.

| mode | queries | readout of a label |
|---|---|---|
| `FixedMLDecoder` | K frozen random vectors | its own weights on its group's output |
| `WordMLDecoder` | one for each of L labels | weights that all labels share |
| `GroupedWordMLDecoder` | K centres of label vectors | its own vector on its group's output |

Ridnik et al., "ML-Decoder: Scalable and Versatile Classification Head", arXiv 2111.12933.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsl.errors import InputError, require
from zsl.models.decoder import DecoderLayer, Memory, PreparedQueries, join_parts
from zsl.models.tokens import ToTokens, without_autocast


class DecoderOptions(TypedDict, total=False):
    """Arguments of `MLDecoder` that every mode takes."""

    embed_dim: int
    num_heads: int
    feedforward_dim: int
    dropout: float
    grad_checkpointing: bool


class WordOptions(DecoderOptions, total=False):
    """Arguments of `MLDecoder` that the modes for words take."""

    query_relu: bool
    span: Tensor | None


def check_decoder(
    embed_dim: int, num_heads: int, dropout: float, group: str = "", **widths: int | None
) -> None:
    """Refuses numbers of which no decoder can be made; `group` precedes their names in messages.

    Raises:
        InputError: One is out of range, or `num_heads` does not divide `embed_dim`.
    """
    for name, number in {**widths, "embed_dim": embed_dim, "num_heads": num_heads}.items():
        require(number is None or number >= 1, f"{group}{name} is {number}; expected 1 or more.")
    require(0 <= dropout < 1, f"{group}dropout is {dropout}; expected 0 to below 1.")
    require(
        embed_dim % num_heads == 0,
        f"{group}embed_dim {embed_dim} is not divisible by {group}num_heads {num_heads}; choose a "
        "multiple.",
    )


class MLDecoder(nn.Module):
    """What the modes share: tokens to memory, and queries decoded against it.

    Args:
        token_dim: Width C of the backbone's tokens.
        query_dim: Width W of the queries; None if they have the decoder's width.
        query_relu: Passes the projected queries through a ReLU, as the published head does.
        span: (W, k) from `span_of`: of each label vector only the part in it is used. None uses the
            whole.
        embed_dim: Width D of the decoder.
        num_heads: Number of attention heads; divides `embed_dim`.
        feedforward_dim: Width of the hidden layer of the feed-forward part.
        dropout: Dropout rate throughout the decoder.
        grad_checkpointing: In training, decodes a part of the queries at a time and keeps none of
            its activations, which the backward pass makes again: memory does not grow with the
            queries. Logits and gradients are the same.

    Raises:
        InputError: A width or rate is out of range, or `num_heads` does not divide `embed_dim`.
    """

    span: Tensor | None

    def __init__(
        self,
        token_dim: int,
        query_dim: int | None,
        *,
        query_relu: bool = True,
        span: Tensor | None = None,
        embed_dim: int = 768,
        num_heads: int = 8,
        feedforward_dim: int = 2048,
        dropout: float = 0.1,
        grad_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_decoder(
            embed_dim, num_heads, dropout, query_dim=query_dim, feedforward_dim=feedforward_dim
        )
        self.query_dim = query_dim
        self.query_relu = query_relu
        self.grad_checkpointing = grad_checkpointing
        self.register_buffer("span", span)
        self.to_tokens = ToTokens()
        self.embed_tokens = nn.Linear(token_dim, embed_dim)
        self.embed_queries = None if query_dim is None else nn.Linear(query_dim, embed_dim)
        self.layer = DecoderLayer(embed_dim, num_heads, feedforward_dim, dropout)

    def _remember(self, features: Tensor) -> Memory:
        """Keys and values of the features: tokens (B, T, C) or a map (B, C, H, W)."""
        return self.layer.attention.remember(self._embed_tokens(features))

    def _embed_tokens(self, features: Tensor) -> Tensor:
        """Returns (B, T, D), of which keys and values are made."""
        tokens = self.to_tokens(features)
        if tokens.shape[2] != self.embed_tokens.in_features:
            raise InputError(
                f"The tokens are {tokens.shape[2]} wide, but the head was made for tokens of "
                f"{self.embed_tokens.in_features}; make it with the backbone's width."
            )
        return F.relu(self.embed_tokens(tokens))

    def _within_span(self, queries: Tensor) -> Tensor:
        """Returns the part of label vectors (L, W) that is used."""
        if queries.ndim != 2 or queries.shape[1] != self.query_dim:
            raise InputError(
                f"The label vectors have the shape {tuple(queries.shape)}; "
                f"expected (labels, {self.query_dim})."
            )
        if self.span is None:
            return queries
        with without_autocast(queries):
            return queries.to(self.span.dtype) @ self.span @ self.span.T

    def _embed(self, queries: Tensor) -> PreparedQueries:
        """Does the decoder's work on queries (Q, W or D) that needs no image."""
        if self.embed_queries is None:
            return self.layer.prepare(queries)
        projected = self.embed_queries(queries.to(self.embed_queries.weight.dtype))
        return self.layer.prepare(F.relu(projected) if self.query_relu else projected)

    @property
    def _recomputes(self) -> bool:
        """Whether the backward pass is to make activations again."""
        return self.grad_checkpointing and self.training and torch.is_grad_enabled()

    def _in_parts(
        self, decode: Callable[..., Tensor], queries: Sequence[Tensor], num_images: int
    ) -> Tensor:
        """Decodes the queries of groups as `join_parts`; in training, they are few, all at once."""
        if torch.is_grad_enabled() and not self._recomputes:
            return decode(*queries)
        hidden = num_images * self.layer.feedforward_dim
        return join_parts(decode, queries, hidden, self._recomputes)
