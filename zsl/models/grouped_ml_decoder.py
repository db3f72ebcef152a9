"""ML-Decoder for any labels, with one query for each group of labels: group decoding."""

from __future__ import annotations

from typing import NamedTuple, Unpack

import torch
from torch import Tensor, nn

from zsl.models.decoder import PreparedQueries
from zsl.models.grouping import GroupedVectors, check_group_queries, nearest_group
from zsl.models.ml_decoder import MLDecoder, WordOptions
from zsl.models.tokens import without_autocast


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
