"""The ML-Decoder head in its three modes.

| mode | queries | readout of a label |
|---|---|---|
| `FixedMLDecoder` | K frozen random vectors | its own weights on its group's output |
| `WordMLDecoder` | one for each of L labels | weights that all labels share |
| `GroupedWordMLDecoder` | K centres of label vectors | its own vector on its group's output |

Ridnik et al., "ML-Decoder: Scalable and Versatile Classification Head", arXiv 2111.12933.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsl.errors import InputError
from zsl.models.decoder import DecoderLayer, Memory, PreparedQueries
from zsl.models.grouping import GroupedVectors, nearest_group
from zsl.models.query_cache import QueryCache
from zsl.models.tokens import ToTokens

T = TypeVar("T")

# Hidden activations at a time in inference: on a CPU what its caches hold, on a GPU what fills it.
_HIDDEN_AT_ONCE_CPU = 2**21
_HIDDEN_AT_ONCE = 2**26


class MLDecoder(nn.Module):
    """What the modes share: tokens to memory, and queries decoded against it.

    Args:
        token_dim: Width C of the backbone's tokens.
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
        self.to_tokens = ToTokens()
        self.embed_tokens = nn.Linear(token_dim, embed_dim)
        self.layer = DecoderLayer(embed_dim, num_heads, feedforward_dim, dropout)
        self._prepared: QueryCache[PreparedQueries] = QueryCache()

    def _remember(self, features: Tensor) -> Memory:
        """Keys and values of the features: tokens (B, T, C) or a map (B, C, H, W)."""
        tokens = F.relu(self.embed_tokens(self.to_tokens(features)))
        return self.layer.attention.remember(tokens)

    def _embed(self, queries: Tensor) -> Tensor:
        """Brings queries to the width D of the decoder."""
        return queries

    def _query_side(self) -> Iterator[Tensor]:
        """The parameters that prepared queries come from."""
        yield from self.layer.norm1.parameters()
        yield from self.layer.attention.query.parameters()

    def _prepare(self, queries: Tensor) -> PreparedQueries:
        """Does the work on queries (Q, D or W) that needs no image."""
        return self._once(
            self._prepared,
            lambda: self.layer.prepare(self._embed(queries)),
            [queries, *self._query_side()],
        )

    def _once(self, cache: QueryCache[T], compute: Callable[[], T], sources: list[Tensor]) -> T:
        """Computes; in inference only if a source has changed since the last time."""
        return cache.get(compute, sources) if self._inference else compute()

    @property
    def _inference(self) -> bool:
        return not (self.training or torch.is_grad_enabled() or torch.compiler.is_compiling())


class FixedMLDecoder(MLDecoder):
    """Scores a fixed set of classes, single-label or multi-label alike.

    K frozen random queries; query k owns the classes from k·g up to (k+1)·g, g = ⌈N/K⌉, each
    with weights of its own. Queries left without a class are not decoded.

    Args:
        token_dim: Width C of the backbone's tokens.
        num_classes: Number N of classes.
        num_groups: Number K of queries, from 1 to N; None takes 100, or N where that is less.
        embed_dim: Width D of the decoder.
        num_heads: Number of attention heads; divides `embed_dim`.
        feedforward_dim: Width of the hidden layer of the feed-forward part.
        dropout: Dropout rate throughout the decoder.

    Raises:
        InputError: `num_heads` does not divide `embed_dim`, or `num_groups` is out of range.
    """

    group_queries: Tensor

    def __init__(
        self,
        token_dim: int,
        num_classes: int,
        num_groups: int | None = None,
        embed_dim: int = 768,
        num_heads: int = 8,
        feedforward_dim: int = 2048,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(token_dim, embed_dim, num_heads, feedforward_dim, dropout)
        if num_classes < 1:
            raise InputError(f"num_classes is {num_classes}; expected 1 or more.")
        num_groups = min(100, num_classes) if num_groups is None else num_groups
        if not 1 <= num_groups <= num_classes:
            raise InputError(
                f"num_groups is {num_groups}; expected 1 to num_classes, {num_classes}."
            )
        self.register_buffer("group_queries", torch.randn(num_groups, embed_dim))
        self.readout = GroupLinear(num_groups, embed_dim, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Returns the logits (B, N) for tokens (B, T, C) or a map (B, C, H, W)."""
        queries = self._prepare(self.group_queries[: self.readout.num_used])
        decoded = self.layer(queries, self._remember(features))
        with torch.autocast(decoded.device.type, enabled=False):
            return self.readout(decoded.to(self.readout.weight.dtype))


class GroupLinear(nn.Module):
    """Group fully-connected readout: each query's output gives the logits of its own classes.

    Args:
        num_groups: Number K of queries.
        dim: Width D of their outputs.
        num_classes: Number N of classes; the last group's surplus places are cut off.

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

    def forward(self, decoded: Tensor) -> Tensor:
        """Turns (B, `num_used`, D) into logits (B, N)."""
        logits = torch.einsum("bkd,kdg->bkg", decoded, self.weight[: self.num_used])
        return logits.flatten(1)[:, : len(self.bias)] + self.bias


class WordMLDecoder(MLDecoder):
    """Scores any labels, given as vectors, with one query for each: full decoding.

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
        super().__init__(token_dim, embed_dim, num_heads, feedforward_dim, dropout)
        self.embed_queries = nn.Linear(query_dim, embed_dim)
        # One readout shared by all queries: any number of labels can be asked.
        self.readout = nn.Linear(embed_dim, 1)
        nn.init.xavier_normal_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)

    def forward(self, features: Tensor, queries: Tensor) -> Tensor:
        """Returns logits (B, L); in inference, memory for a part of the labels at a time.

        Args:
            features: Tokens (B, T, C) or a map (B, C, H, W).
            queries: (L, W) label vectors.

        Raises:
            InputError: The label vectors have another width than W.
        """
        _check_vectors(queries, self.embed_queries.in_features)
        memory = self._remember(features)
        prepared = self._prepare(queries)
        if not self._inference:
            return self._score(prepared, memory)
        at_once = _HIDDEN_AT_ONCE_CPU if features.device.type == "cpu" else _HIDDEN_AT_ONCE
        hidden = features.shape[0] * self.layer.feedforward_dim
        parts = prepared.split(max(1, at_once // max(1, hidden)))
        return torch.cat([self._score(part, memory) for part in parts], dim=1)

    def _score(self, queries: PreparedQueries, memory: Memory) -> Tensor:
        decoded = self.layer(queries, memory)
        # Half-precision logits tie, which spoils rankings.
        with torch.autocast(decoded.device.type, enabled=False):
            return self.readout(decoded.to(self.readout.weight.dtype)).squeeze(-1)

    def _embed(self, queries: Tensor) -> Tensor:
        return F.relu(self.embed_queries(queries))

    def _query_side(self) -> Iterator[Tensor]:
        yield from self.embed_queries.parameters()
        yield from super()._query_side()


class GroupedWordMLDecoder(MLDecoder):
    """Scores any labels, given as vectors, with one query for each group of labels.

    A label with the vector v belongs to the group k whose query is nearest in direction. The
    decoder turns the K group queries into outputs h, and the logit of the label is

    `(R h_k + r) · v + b`

    with a learned map R from width D to the vectors' width W: the label's readout weights `Rᵀ v`
    are made from its own vector. So the decoder costs O(K) and a label one dot product.

    Args:
        token_dim: Width C of the backbone's tokens.
        group_queries: (K, W), from `group_labels` or of your own; fixed, saved with the head.
        embed_dim: Width D of the decoder.
        num_heads: Number of attention heads; divides `embed_dim`.
        feedforward_dim: Width of the hidden layer of the feed-forward part.
        dropout: Dropout rate throughout the decoder.

    Raises:
        InputError: `num_heads` does not divide `embed_dim`, or the group queries are no matrix.
    """

    group_queries: Tensor

    def __init__(
        self,
        token_dim: int,
        group_queries: Tensor,
        embed_dim: int = 768,
        num_heads: int = 8,
        feedforward_dim: int = 2048,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(token_dim, embed_dim, num_heads, feedforward_dim, dropout)
        if group_queries.ndim != 2 or not len(group_queries):
            raise InputError(
                f"The group queries have the shape {tuple(group_queries.shape)}; "
                "expected (groups, width of the label vectors)."
            )
        self.register_buffer("group_queries", group_queries.detach().clone())
        self.embed_queries = nn.Linear(group_queries.shape[1], embed_dim)
        self.readout = nn.Linear(embed_dim, group_queries.shape[1])
        self.bias = nn.Parameter(torch.zeros(1))
        nn.init.xavier_normal_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)
        with torch.no_grad():  # Vectors of any scale begin with logits of the same scale.
            self.readout.weight /= group_queries.norm(dim=1).mean()
        self._grouped: QueryCache[GroupedVectors] = QueryCache()

    def forward(self, features: Tensor, queries: Tensor) -> Tensor:
        """Returns logits (B, L).

        Args:
            features: Tokens (B, T, C) or a map (B, C, H, W).
            queries: (L, W) label vectors.

        Raises:
            InputError: The label vectors have another width than W.
        """
        _check_vectors(queries, self.embed_queries.in_features)
        decoded = self.layer(self._prepare(self.group_queries), self._remember(features))
        with torch.autocast(decoded.device.type, enabled=False):
            outputs = self.readout(decoded.to(self.readout.weight.dtype))
            return self._group(queries.to(outputs.dtype)).dot(outputs) + self.bias

    def _group(self, queries: Tensor) -> GroupedVectors:
        def arrange() -> GroupedVectors:
            groups = nearest_group(queries, self.group_queries)
            return GroupedVectors.arrange(queries, groups, self.group_queries.shape[0])

        return self._once(self._grouped, arrange, [queries, self.group_queries])

    def _embed(self, queries: Tensor) -> Tensor:
        return F.relu(self.embed_queries(queries))

    def _query_side(self) -> Iterator[Tensor]:
        yield from self.embed_queries.parameters()
        yield from super()._query_side()


def _check_vectors(queries: Tensor, width: int) -> None:
    if queries.ndim != 2 or queries.shape[1] != width:
        raise InputError(
            f"The label vectors have the shape {tuple(queries.shape)}; expected (labels, {width})."
        )
