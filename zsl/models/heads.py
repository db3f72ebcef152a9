"""What makes a head: the settings of ML-Decoder, and what other heads have in common with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zsl.models.grouped_ml_decoder import GroupedWordMLDecoder
from zsl.models.grouping import group_labels
from zsl.models.ml_decoder import check_decoder
from zsl.models.tokens import OnMeanToken
from zsl.models.word_ml_decoder import WordMLDecoder


class HeadConfig(ABC):
    """What makes the head of a network; a config names a subclass by its class path.

    A subclass is a frozen dataclass of plain values, so that a checkpoint can record it.
    """

    scores_are_log_odds: ClassVar[bool] = True
    """Whether a sigmoid makes probabilities of the head's scores."""
    trains_queries: ClassVar[bool] = True
    """Whether a training step may query other vectors than those of the seen labels."""

    @abstractmethod
    def make(self, token_dim: int, seen_vectors: Tensor) -> nn.Module:
        """Makes the head.

        Args:
            token_dim: Width C of the backbone's tokens.
            seen_vectors: float32 (S, W) vectors of the seen labels.

        Returns:
            A module that turns tokens (B, T, C) and label vectors (L, W) into logits (B, L).

        Raises:
            InputError: The settings don't fit these widths, or this number of labels.
        """


@dataclass(frozen=True)
class MLDecoderConfig(HeadConfig):
    """ML-Decoder, operated with the vectors of label names.

    Args:
        num_groups: Number of group queries, made from the seen labels' vectors, for group decoding,
            at most one for each seen label: the decoder's cost grows with the groups and not with
            the labels. None is full decoding, one query for each label.
        embed_dim: Width of the decoder.
        num_heads: Attention heads of the decoder; divides `embed_dim`.
        feedforward_dim: Hidden width of the decoder's feed-forward part.
        dropout: Dropout rate in the decoder.
        query_relu: Passes the projected queries through a ReLU, as the published head does.
        seen_span: Uses only the part of each label vector in the span of the seen labels' vectors.
        pool_tokens: Shows the decoder the mean of the backbone's tokens instead of all of them, to
            see what attention brings.
        grad_checkpointing: Trains with the activations of a part of the queries at a time; the
            backward pass makes them again. For thousands of labels: memory does not grow with
            them, and a step takes longer (docs/ml_decoder.md says how much).

    Raises:
        InputError: A number is out of range.
    """

    num_groups: int | None = None
    embed_dim: int = 768
    num_heads: int = 8
    feedforward_dim: int = 2048
    dropout: float = 0.1
    query_relu: bool = True
    seen_span: bool = False
    pool_tokens: bool = False
    grad_checkpointing: bool = False

    def __post_init__(self) -> None:
        """Refuses numbers that make no decoder."""
        widths = {"num_groups": self.num_groups, "feedforward_dim": self.feedforward_dim}
        check_decoder(self.embed_dim, self.num_heads, self.dropout, "head.", **widths)

    def make(self, token_dim: int, seen_vectors: Tensor) -> nn.Module:
        """Makes the decoder; groups and span are those of the seen labels' vectors."""
        own = ("num_groups", "seen_span", "pool_tokens")
        options: Any = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in own}
        options["span"] = span_of(seen_vectors) if self.seen_span else None
        head: nn.Module
        if self.num_groups is None:
            head = WordMLDecoder(token_dim, seen_vectors.shape[1], **options)
        else:
            groups = group_labels(seen_vectors, min(self.num_groups, len(seen_vectors)))
            head = GroupedWordMLDecoder(token_dim, groups, **options)
        return OnMeanToken(head) if self.pool_tokens else head


def span_of(vectors: Tensor) -> Tensor:
    """Returns orthonormal columns (W, k) that span the label vectors (L, W); k is their rank.

    A weight is trained in the directions of the label vectors alone. Outside their span it stays as
    it was drawn, so what a new label's vector has there would reach the decoder as noise. Where
    there are fewer trained labels than dimensions, that can be a good part of a vector.
    """
    _, lengths, directions = torch.linalg.svd(vectors.detach().double(), full_matrices=False)
    return directions[lengths > 1e-4 * lengths[0]].T.float().contiguous()
