"""ML-Decoder for a fixed set of classes."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from zsl.errors import require
from zsl.models.ml_decoder import DecoderOptions, MLDecoder
from zsl.models.tokens import without_autocast


class FixedMLDecoder(MLDecoder):
    """Scores a fixed set of classes, single-label or multi-label alike.

    K frozen random queries; query k owns the classes from k·g up to (k+1)·g, g = ⌈N/K⌉, each
    with weights of its own. Queries left without a class are not decoded.

    Args:
        token_dim: Width C of the backbone's tokens.
        num_classes: Number N of classes.
        num_groups: Number K of queries, from 1 to N; None takes 100, or N where that is less.
        **options: `embed_dim`, `num_heads`, `feedforward_dim`, `dropout` and `grad_checkpointing`
            of `MLDecoder`.

    Raises:
        InputError: A number is out of range, or `num_heads` does not divide `embed_dim`.
    """

    group_queries: Tensor

    def __init__(
        self,
        token_dim: int,
        num_classes: int,
        num_groups: int | None = None,
        **options: Unpack[DecoderOptions],
    ) -> None:
        super().__init__(token_dim, None, **options)
        require(num_classes >= 1, f"num_classes is {num_classes}; expected 1 or more.")
        num_groups = min(100, num_classes) if num_groups is None else num_groups
        require(
            1 <= num_groups <= num_classes,
            f"num_groups is {num_groups}; expected 1 to num_classes, {num_classes}.",
        )
        embed_dim = self.embed_tokens.out_features
        self.register_buffer("group_queries", torch.randn(num_groups, embed_dim))
        self.readout = GroupLinear(num_groups, embed_dim, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Returns the logits (B, N) for tokens (B, T, C) or a map (B, C, H, W)."""
        memory, used = self._remember(features), self.readout.num_used

        def decode(queries: Tensor, weight: Tensor) -> Tensor:
            return self.readout.products(self.layer(self._embed(queries), memory), weight)

        queries = self.group_queries[:used], self.readout.weight[:used]
        return self.readout.logits(self._in_parts(decode, queries, features.shape[0]))

    def attention(self, features: Tensor, classes: Tensor) -> Tensor:
        """Returns where the queries of some classes look, as `WordMLDecoder.attention`.

        Args:
            features: Tokens (B, T, C) or a map (B, C, H, W).
            classes: int64 (L,), their positions; those that share a query have one map.
        """
        queries = self._embed(self.group_queries[: self.readout.num_used])
        weights = self.layer.attention.mean_weights(queries.projected, self._remember(features))
        return weights[:, classes // self.readout.weight.shape[2]]


class GroupLinear(nn.Module):
    """Group fully-connected readout: each query's output gives the logits of its own classes.

    Args:
        num_groups: Number K of queries.
        dim: Width D of their outputs.
        num_classes: Number N of classes; the surplus columns of the last group are cut off.

    Attributes:
        num_used: Number of queries that own a class, ⌈N/⌈N/K⌉⌉.
    """

    def __init__(self, num_groups: int, dim: int, num_classes: int) -> None:
        super().__init__()
        group_size = -(-num_classes // num_groups)
        self.num_used = -(-num_classes // group_size)
        self.weight = nn.Parameter(torch.empty(num_groups, dim, group_size))
        self.bias = nn.Parameter(torch.zeros(num_classes))
        nn.init.xavier_normal_(self.weight)

    @staticmethod
    def products(decoded: Tensor, weight: Tensor) -> Tensor:
        """Multiplies outputs (B, k, D) of some queries with their weights (k, D, g): (B, k, g)."""
        with without_autocast(decoded):
            return torch.einsum("bkd,kdg->bkg", decoded.to(weight.dtype), weight)

    def logits(self, products: Tensor) -> Tensor:
        """Turns the products (B, `num_used`, g) of all queries into logits (B, N)."""
        return products.flatten(1)[:, : len(self.bias)] + self.bias
