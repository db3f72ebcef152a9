"""ML-Decoder for any labels, with one query for each: full decoding."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor, nn

from zsl.models.decoder import Memory, PreparedQueries, join_parts
from zsl.models.ml_decoder import MLDecoder, WordOptions
from zsl.models.tokens import without_autocast


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
