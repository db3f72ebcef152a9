"""What makes a head of fixed classes: ML-Decoder, or pooling, to see what ML-Decoder gains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from zsl.errors import require
from zsl.models.fixed_ml_decoder import FixedMLDecoder
from zsl.models.ml_decoder import check_decoder
from zsl.models.tokens import ToTokens


class FixedHeadConfig(ABC):
    """What makes a head of fixed classes; a config names a subclass by its class path.

    A subclass is a frozen dataclass of plain values, so that a checkpoint can record it.
    """

    @abstractmethod
    def make(self, token_dim: int, num_classes: int) -> nn.Module:
        """Makes the head.

        Args:
            token_dim: Width C of the backbone's tokens.
            num_classes: Number N of classes.

        Returns:
            A module that turns tokens (B, T, C) into logits (B, N).

        Raises:
            InputError: The settings don't fit this width, or this number of classes.
        """


@dataclass(frozen=True)
class FixedMLDecoderConfig(FixedHeadConfig):
    """ML-Decoder with queries of its own, each of which owns a group of the classes.

    Args:
        num_groups: Number K of queries, at most one for each class: the decoder's cost grows with
            the groups and not with the classes. None is full decoding, one query for each class.
            The published default is 100.
        embed_dim: Width of the decoder.
        num_heads: Attention heads of the decoder; divides `embed_dim`.
        feedforward_dim: Hidden width of the decoder's feed-forward part.
        dropout: Dropout rate in the decoder.
        grad_checkpointing: Trains with the activations of a part of the queries at a time; the
            backward pass makes them again. For thousands of groups: memory does not grow with
            them, and a step takes longer (docs/ml_decoder.md says how much).

    Raises:
        InputError: A number is out of range.
    """

    num_groups: int | None = 100
    embed_dim: int = 768
    num_heads: int = 8
    feedforward_dim: int = 2048
    dropout: float = 0.1
    grad_checkpointing: bool = False

    def __post_init__(self) -> None:
        """Refuses numbers that make no decoder."""
        widths = {"num_groups": self.num_groups, "feedforward_dim": self.feedforward_dim}
        check_decoder(self.embed_dim, self.num_heads, self.dropout, "head.", **widths)

    def make(self, token_dim: int, num_classes: int) -> FixedMLDecoder:
        """Makes the decoder."""
        return FixedMLDecoder(
            token_dim,
            num_classes,
            min(self.num_groups or num_classes, num_classes),
            embed_dim=self.embed_dim,
            num_heads=self.num_heads,
            feedforward_dim=self.feedforward_dim,
            dropout=self.dropout,
            grad_checkpointing=self.grad_checkpointing,
        )


@dataclass(frozen=True)
class PoolingConfig(FixedHeadConfig):
    """Mean of the tokens and a linear layer: the plain classifier that ML-Decoder stands beside.

    Args:
        dropout: Dropout rate before the linear layer.

    Raises:
        InputError: The rate is out of range.
    """

    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Refuses a rate out of range."""
        require(0 <= self.dropout < 1, f"head.dropout is {self.dropout}; expected 0 to below 1.")

    def make(self, token_dim: int, num_classes: int) -> PoolingHead:
        """Makes the head."""
        return PoolingHead(token_dim, num_classes, self.dropout)


class PoolingHead(nn.Module):
    """Scores fixed classes by a linear layer on the mean of an image's tokens.

    Args:
        token_dim: Width C of the backbone's tokens.
        num_classes: Number N of classes.
        dropout: Dropout rate before the linear layer.
    """

    def __init__(self, token_dim: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.to_tokens = ToTokens()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(token_dim, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Returns logits (B, N) of tokens (B, T, C) or a map (B, C, H, W)."""
        return self.classifier(self.dropout(self.to_tokens(features).mean(dim=1)))
