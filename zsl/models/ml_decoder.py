"""The ML-Decoder head in its three modes.

| mode | queries | readout of a label |
|---|---|---|
| `FixedMLDecoder` | K frozen random vectors | its own weights on its group's output |
| `WordMLDecoder` | one for each of L labels | weights that all labels share |
| `GroupedWordMLDecoder` | K centres of label vectors | its own vector on its group's output |

Ridnik et al., "ML-Decoder: Scalable and Versatile Classification Head", arXiv 2111.12933.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypedDict, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsl.errors import InputError, require
from zsl.models.decoder import DecoderLayer, Memory, PreparedQueries, join_parts
from zsl.models.grouping import GroupedVectors, check_group_queries, nearest_group
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


class WordMLDecoder(MLDecoder):
    """Scores any labels, given as vectors, with one query for each: full decoding.

    Args:
        token_dim: Width C of the backbone's tokens.
        query_dim: Width W of the label vectors.
        **options: Further arguments of `MLDecoder`.

    Raises:
        InputError: A number is out of range, or `num_heads` does not divide `embed_dim`.
    """

    def __init__(self, token_dim: int, query_dim: int, **options: Unpack[WordOptions]) -> None:
        super().__init__(token_dim, query_dim, **options)
        # One readout shared by all queries: any number of labels can be queried.
        self.readout = nn.Linear(self.embed_tokens.out_features, 1)
        nn.init.xavier_normal_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)

    def prepare(self, queries: Tensor) -> PreparedQueries:
        """Returns for label vectors (L, W) what `forward` and `attention` need of them.

        Keep it to query the same labels again. It is valid only while weights, dtype and device of
        the head, training or evaluation mode and autocast stay the same.

        Raises:
            InputError: The label vectors have another width than W.
        """
        return self._embed(self._within_span(queries))

    def forward(self, features: Tensor, queries: Tensor | PreparedQueries) -> Tensor:
        """Returns logits (B, L).

        Args:
            features: Tokens (B, T, C) or a map (B, C, H, W).
            queries: (L, W) label vectors, or what `prepare` made of them.

        Raises:
            InputError: The label vectors have another width than W.
        """
        memory = self._remember(features)
        hidden = features.shape[0] * self.layer.feedforward_dim
        if self._recomputes and not isinstance(queries, PreparedQueries):
            # What is made of the vectors is not kept either.
            return join_parts(
                lambda vectors: self._score(self._embed(vectors), memory),
                [self._within_span(queries)],
                hidden,
                recompute=True,
            )
        prepared = queries if isinstance(queries, PreparedQueries) else self.prepare(queries)
        return join_parts(
            lambda *part: self._score(PreparedQueries(*part), memory),
            prepared,
            hidden,
            self._recomputes,
        )

    def remember(self, features: Tensor) -> Tensor:
        """Returns what `answer` needs of the features, whatever the labels: (B, T, D)."""
        return self._embed_tokens(features)

    def answer(self, remembered: Tensor, queries: Tensor | PreparedQueries) -> Tensor:
        """Returns the logits (B, L) of `forward`; few labels cost little but the feed-forward part.

        Args:
            remembered: From `remember`.
            queries: As `forward` takes them.
        """
        prepared = queries if isinstance(queries, PreparedQueries) else self.prepare(queries)
        attention, (num_images, num_tokens, dim) = self.layer.attention, remembered.shape
        # Multiplications without keys and values, against those that make these.
        directly = len(prepared.projected) * (2 * attention.num_heads * num_tokens + dim)
        is_direct = directly <= 2 * num_tokens * dim
        memory = None if is_direct else attention.remember(remembered)

        def score(*part: Tensor) -> Tensor:
            queries = PreparedQueries(*part)
            if memory is None:
                return self._score_directly(queries, remembered)
            return self._score(queries, memory)

        return join_parts(score, prepared, num_images * self.layer.feedforward_dim)

    def attention(self, features: Tensor, queries: Tensor | PreparedQueries) -> Tensor:
        """Returns where the label queries look: (B, L, T), mean over heads; a label's sum to 1.

        Takes what `forward` takes.
        """
        prepared = queries if isinstance(queries, PreparedQueries) else self.prepare(queries)
        return self.layer.attention.mean_weights(prepared.projected, self._remember(features))

    def _score(self, queries: PreparedQueries, memory: Memory) -> Tensor:
        return self._read(self.layer(queries, memory))

    def _score_directly(self, queries: PreparedQueries, remembered: Tensor) -> Tensor:
        attended = self.layer.attention.attend_directly(queries.projected, remembered)
        return self._read(self.layer.decode(queries, attended))

    def _read(self, decoded: Tensor) -> Tensor:
        with without_autocast(decoded):
            return self.readout(decoded.to(self.readout.weight.dtype)).squeeze(-1)


class PreparedGroups(NamedTuple):
    """What a `GroupedWordMLDecoder` computes of L labels before it sees an image."""

    queries: PreparedQueries
    """The K group queries, prepared."""
    labels: GroupedVectors
    """The label vectors, arranged by group."""


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
        **options: Further arguments of `MLDecoder`.

    Raises:
        InputError: A number is out of range, `num_heads` does not divide `embed_dim`, or the group
            queries are not finite, or not of different directions.
    """

    group_queries: Tensor

    def __init__(
        self, token_dim: int, group_queries: Tensor, **options: Unpack[WordOptions]
    ) -> None:
        check_group_queries(group_queries)
        query_dim = group_queries.shape[1]
        super().__init__(token_dim, query_dim, **options)
        self.register_buffer("group_queries", group_queries.detach().float().clone())
        self.readout = nn.Linear(self.embed_tokens.out_features, query_dim)
        self.bias = nn.Parameter(torch.zeros(1))
        nn.init.xavier_normal_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)

    def prepare(self, queries: Tensor) -> PreparedGroups:
        """Returns what `forward` needs of label vectors (L, W), as `WordMLDecoder.prepare`."""
        vectors = self._within_span(queries).to(self.readout.weight.dtype)
        with without_autocast(vectors):
            groups = nearest_group(vectors, self.group_queries)
        labels = GroupedVectors.arrange(vectors, groups, self.group_queries.shape[0])
        return PreparedGroups(self._embed(self.group_queries), labels)

    def forward(self, features: Tensor, queries: Tensor | PreparedGroups) -> Tensor:
        """Returns logits (B, L).

        Args:
            features: Tokens (B, T, C) or a map (B, C, H, W).
            queries: (L, W) label vectors, or what `prepare` made of them.

        Raises:
            InputError: The label vectors have another width than W.
        """
        prepared = queries if isinstance(queries, PreparedGroups) else self.prepare(queries)
        return self.answer(self._outputs(features, prepared.queries), prepared)

    def _outputs(self, features: Tensor, groups: PreparedQueries) -> Tensor:
        memory = self._remember(features)

        def decode(*part: Tensor) -> Tensor:
            decoded = self.layer(PreparedQueries(*part), memory)
            with without_autocast(decoded):
                return self.readout(decoded.to(self.readout.weight.dtype))

        outputs = self._in_parts(decode, groups, features.shape[0])
        # Vectors of any length train alike.
        return outputs / self.group_queries.norm(dim=1).mean()

    def remember(self, features: Tensor) -> Tensor:
        """Returns what `answer` needs of the features, whatever the labels: (B, K, W)."""
        return self._outputs(features, self._embed(self.group_queries))

    def answer(self, remembered: Tensor, queries: Tensor | PreparedGroups) -> Tensor:
        """Returns the logits (B, L) of `forward`: a label is a dot product.

        Args:
            remembered: From `remember`.
            queries: As `forward` takes them.
        """
        prepared = queries if isinstance(queries, PreparedGroups) else self.prepare(queries)
        with without_autocast(remembered):
            return prepared.labels.dot(remembered) + self.bias

    def attention(self, features: Tensor, queries: Tensor | PreparedGroups) -> Tensor:
        """Returns where the group queries look, label by label, as `WordMLDecoder.attention`."""
        prepared = queries if isinstance(queries, PreparedGroups) else self.prepare(queries)
        memory = self._remember(features)
        weights = self.layer.attention.mean_weights(prepared.queries.projected, memory)
        return weights[:, prepared.labels.groups]
