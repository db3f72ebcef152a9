"""The ML-Decoder head in its three modes.

| mode | queries | readout of a label |
|---|---|---|
| `FixedMLDecoder` | K frozen random vectors | its own weights on its group's output |
| `WordMLDecoder` | one for each of L labels | weights that all labels share |
| `GroupedWordMLDecoder` | K centres of label vectors | its own vector on its group's output |

Ridnik et al., "ML-Decoder: Scalable and Versatile Classification Head", arXiv 2111.12933.
"""

from __future__ import annotations

from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsl.errors import InputError, require
from zsl.models.decoder import DecoderLayer, Memory, PreparedQueries
from zsl.models.grouping import GroupedVectors, check_group_queries, dot_each, nearest_group
from zsl.models.query_cache import QueryCache
from zsl.models.tokens import ToTokens

# Hidden activations at a time: on a CPU about what its caches hold, on a GPU what fills it.
_HIDDEN_AT_ONCE_CPU = 2**22
_HIDDEN_AT_ONCE = 2**26


class MLDecoder(nn.Module):
    """What the modes share: tokens to memory, and queries decoded against it.

    Args:
        token_dim: Width C of the backbone's tokens.
        query_dim: Width W of the queries; None if they have the decoder's width.
        embed_dim: Width D of the decoder.
        num_heads: Number of attention heads; divides `embed_dim`.
        feedforward_dim: Width of the hidden layer of the feed-forward part.
        dropout: Dropout rate throughout the decoder.
        query_relu: Passes the projected queries through a ReLU.
        span: (W, k), orthonormal columns: of each query only the part in their span is used. None
            uses the whole.

    Raises:
        InputError: A width or rate is out of range, or `num_heads` does not divide `embed_dim`.
    """

    span: Tensor | None

    def __init__(
        self,
        token_dim: int,
        query_dim: int | None,
        embed_dim: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float,
        query_relu: bool = True,
        span: Tensor | None = None,
    ) -> None:
        super().__init__()
        require(
            query_dim is None or query_dim >= 1, f"query_dim is {query_dim}; expected 1 or more."
        )
        require(embed_dim >= 1, f"embed_dim is {embed_dim}; expected 1 or more.")
        require(num_heads >= 1, f"num_heads is {num_heads}; expected 1 or more.")
        require(feedforward_dim >= 1, f"feedforward_dim is {feedforward_dim}; expected 1 or more.")
        require(0 <= dropout < 1, f"dropout is {dropout}; expected 0 to below 1.")
        require(
            embed_dim % num_heads == 0,
            f"embed_dim {embed_dim} is not divisible by num_heads {num_heads}; choose a multiple.",
        )
        self.query_dim = query_dim
        self.query_relu = query_relu
        self.register_buffer("span", span)
        self.to_tokens = ToTokens()
        self.embed_tokens = nn.Linear(token_dim, embed_dim)
        self.embed_queries = None if query_dim is None else nn.Linear(query_dim, embed_dim)
        self.layer = DecoderLayer(embed_dim, num_heads, feedforward_dim, dropout)
        self._cache = QueryCache()

    def _remember(self, features: Tensor) -> Memory:
        """Keys and values of the features: tokens (B, T, C) or a map (B, C, H, W)."""
        tokens = self.to_tokens(features)
        if tokens.shape[2] != self.embed_tokens.in_features:
            raise InputError(
                f"The tokens are {tokens.shape[2]} wide, but the head was made for tokens of "
                f"{self.embed_tokens.in_features}; make it with the backbone's width."
            )
        return self.layer.attention.remember(F.relu(self.embed_tokens(tokens)))

    def _check_queries(self, queries: Tensor) -> Tensor:
        """Returns the part of label vectors (L, W) that is used."""
        if queries.ndim != 2 or queries.shape[1] != self.query_dim:
            raise InputError(
                f"The label vectors have the shape {tuple(queries.shape)}; "
                f"expected (labels, {self.query_dim})."
            )
        if self.span is None:
            return queries
        with torch.autocast(queries.device.type, enabled=False):
            return queries.to(self.span.dtype) @ self.span @ self.span.T

    def _prepare(self, queries: Tensor) -> PreparedQueries:
        """Does the work on queries (Q, W or D) that needs no image.

        In inference it is done once for the same queries and parameters; with modules that are
        not PyTorch's own, as adapters make them, always, since these can change unseen.
        """
        parts = [self.embed_queries, self.layer.norm1, self.layer.attention.query]
        modules = [part for part in parts if part is not None]

        if not self._inference or self.layer.dropout.training or not all(map(_is_plain, modules)):
            return self._prepare_anew(queries)
        parameters = [parameter for module in modules for parameter in module.parameters()]
        return self._cache.get(
            "queries", lambda: self._prepare_anew(queries), [queries, *parameters]
        )

    def _prepare_anew(self, queries: Tensor) -> PreparedQueries:
        if self.embed_queries is None:
            return self.layer.prepare(queries)
        projected = self.embed_queries(queries.to(self.embed_queries.weight.dtype))
        return self.layer.prepare(F.relu(projected) if self.query_relu else projected)

    @property
    def _in_graph(self) -> bool:
        """Whether a compiler or tracer records, for other values and numbers of labels than now."""
        tracing = torch.jit.is_tracing()  # type: ignore[attr-defined]  # It is public.
        return torch.compiler.is_compiling() or tracing

    @property
    def _inference(self) -> bool:
        """Whether what was computed of the queries may serve again."""
        return not (self.training or torch.is_grad_enabled() or self._in_graph)

    def train(self, mode: bool = True) -> Self:
        """Sets training mode; what was kept for inference is given up."""
        if mode:
            self._cache.clear()
        return super().train(mode)

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        """Moves or casts the head; what was kept for inference is given up."""
        self._cache.clear()
        return super()._apply(*args, **kwargs)


def _is_plain(module: nn.Module) -> bool:
    hooks = module._forward_hooks or module._forward_pre_hooks
    return type(module) in (nn.Linear, nn.LayerNorm) and not hooks


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
        InputError: A number is out of range, or `num_heads` does not divide `embed_dim`.
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
        super().__init__(token_dim, None, embed_dim, num_heads, feedforward_dim, dropout)
        require(num_classes >= 1, f"num_classes is {num_classes}; expected 1 or more.")
        num_groups = min(100, num_classes) if num_groups is None else num_groups
        require(
            1 <= num_groups <= num_classes,
            f"num_groups is {num_groups}; expected 1 to num_classes, {num_classes}.",
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
        query_relu: Passes the projected queries through a ReLU, as the published head does.
        span: (W, k) from `span_of`: of each label vector only the part in it is used.

    Raises:
        InputError: A number is out of range, or `num_heads` does not divide `embed_dim`.
    """

    def __init__(
        self,
        token_dim: int,
        query_dim: int,
        embed_dim: int = 768,
        num_heads: int = 8,
        feedforward_dim: int = 2048,
        dropout: float = 0.1,
        query_relu: bool = True,
        span: Tensor | None = None,
    ) -> None:
        super().__init__(
            token_dim, query_dim, embed_dim, num_heads, feedforward_dim, dropout, query_relu, span
        )
        # One readout shared by all queries: any number of labels can be asked.
        self.readout = nn.Linear(embed_dim, 1)
        nn.init.xavier_normal_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)

    def forward(self, features: Tensor, queries: Tensor) -> Tensor:
        """Returns logits (B, L), made for a part of the labels at a time.

        Args:
            features: Tokens (B, T, C) or a map (B, C, H, W).
            queries: (L, W) label vectors.

        Raises:
            InputError: The label vectors have another width than W.
        """
        queries = self._check_queries(queries)
        memory = self._remember(features)
        prepared = self._prepare(queries)
        if self._in_graph:
            return self._score(prepared, memory)
        at_once = _HIDDEN_AT_ONCE_CPU if features.device.type == "cpu" else _HIDDEN_AT_ONCE
        hidden = len(features) * self.layer.feedforward_dim
        parts = prepared.split(max(1, at_once // max(1, hidden)))
        if len(parts) == 1 or torch.is_grad_enabled():
            return torch.cat([self._score(part, memory) for part in parts], dim=1)
        # Small results kept between large ones that are freed would leave memory in pieces.
        first = self._score(parts[0], memory)
        logits = first.new_empty(len(features), len(queries))
        places = logits.split(first.shape[1], dim=1)
        places[0].copy_(first)
        for place, part in zip(places[1:], parts[1:], strict=True):
            place.copy_(self._score(part, memory))
        return logits

    def attention(self, features: Tensor, queries: Tensor) -> Tensor:
        """Returns where the queries of labels look: (B, L, T), mean over heads, sums of 1.

        Args:
            features: Tokens (B, T, C) or a map (B, C, H, W).
            queries: (L, W) label vectors.

        Raises:
            InputError: The label vectors have another width than W.
        """
        # These are a few of the labels asked: what is kept of all of them stays.
        prepared = self._prepare_anew(self._check_queries(queries))
        return self.layer.attention.mean_weights(prepared.projected, self._remember(features))

    def _score(self, queries: PreparedQueries, memory: Memory) -> Tensor:
        decoded = self.layer(queries, memory)
        # Half-precision logits tie, which spoils rankings.
        with torch.autocast(decoded.device.type, enabled=False):
            return self.readout(decoded.to(self.readout.weight.dtype)).squeeze(-1)


class GroupedWordMLDecoder(MLDecoder):
    """Scores any labels, given as vectors, with one query for each group of labels.

    A label with the vector v belongs to the group k whose query is nearest in direction. The
    decoder turns the K group queries into outputs h, and the logit of the label is

    `(R h_k + r) · v / s + b`

    with a learned map R from width D to the vectors' width W, and s the mean length of the group
    queries: the label's readout weights `Rᵀ v / s` are made from its own vector. So the decoder
    costs O(K) and a label one dot product.

    Args:
        token_dim: Width C of the backbone's tokens.
        group_queries: (K, W), from `group_labels` or of your own; fixed, saved with the head.
        embed_dim: Width D of the decoder.
        num_heads: Number of attention heads; divides `embed_dim`.
        feedforward_dim: Width of the hidden layer of the feed-forward part.
        dropout: Dropout rate throughout the decoder.
        query_relu: Passes the projected queries through a ReLU, as the published head does.
        span: (W, k) from `span_of`: of each label vector only the part in it is used.

    Raises:
        InputError: A number is out of range, `num_heads` does not divide `embed_dim`, or the group
            queries are not finite, or not of different directions.
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
        query_relu: bool = True,
        span: Tensor | None = None,
    ) -> None:
        check_group_queries(group_queries)
        query_dim = group_queries.shape[1]
        super().__init__(
            token_dim, query_dim, embed_dim, num_heads, feedforward_dim, dropout, query_relu, span
        )
        self.register_buffer("group_queries", group_queries.detach().float().clone())
        self.readout = nn.Linear(embed_dim, query_dim)
        self.bias = nn.Parameter(torch.zeros(1))
        nn.init.xavier_normal_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)

    def forward(self, features: Tensor, queries: Tensor) -> Tensor:
        """Returns logits (B, L).

        Args:
            features: Tokens (B, T, C) or a map (B, C, H, W).
            queries: (L, W) label vectors.

        Raises:
            InputError: The label vectors have another width than W.
        """
        queries = self._check_queries(queries)
        decoded = self.layer(self._prepare(self.group_queries), self._remember(features))
        with torch.autocast(decoded.device.type, enabled=False):
            outputs = self.readout(decoded.to(self.readout.weight.dtype))
            # Vectors of any length train alike.
            outputs = outputs / self.group_queries.norm(dim=1).mean()
            queries = queries.to(outputs.dtype)
            if self._in_graph and not self.training:
                # For exporters.
                groups = nearest_group(queries, self.group_queries)
                return dot_each(outputs, queries, groups) + self.bias
            return self._group(queries).dot(outputs) + self.bias

    def attention(self, features: Tensor, queries: Tensor) -> Tensor:
        """Returns where the groups of labels look: (B, L, T), mean over heads, sums of 1.

        Labels of one group look at the same places.

        Args:
            features: Tokens (B, T, C) or a map (B, C, H, W).
            queries: (L, W) label vectors.

        Raises:
            InputError: The label vectors have another width than W.
        """
        groups = nearest_group(self._check_queries(queries), self.group_queries)
        prepared, memory = self._prepare(self.group_queries), self._remember(features)
        return self.layer.attention.mean_weights(prepared.projected, memory)[:, groups]

    def _group(self, queries: Tensor) -> GroupedVectors:
        def arrange() -> GroupedVectors:
            groups = nearest_group(queries, self.group_queries)
            return GroupedVectors.arrange(queries, groups, self.group_queries.shape[0])

        if not self._inference:
            return arrange()
        return self._cache.get("groups", arrange, [queries, self.group_queries])
