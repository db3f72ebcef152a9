"""Small heads of the three modes of ML-Decoder, in double precision."""

from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn

from zsl.models import (
    FixedMLDecoder,
    GroupedWordMLDecoder,
    MLDecoder,
    WordMLDecoder,
)

TOKENS, WIDTH = 10, 6
OPTIONS: dict[str, Any] = {"embed_dim": 16, "num_heads": 8, "feedforward_dim": 24}


Head = TypeVar("Head", bound=MLDecoder)


def randomised(head: Head) -> Head:
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.4)
    return head.double()


def make_fixed(num_classes: int = 7, num_groups: int | None = 3, dropout: float = 0.1) -> MLDecoder:
    torch.manual_seed(0)
    return randomised(FixedMLDecoder(TOKENS, num_classes, num_groups, dropout=dropout, **OPTIONS))


def make_words(dropout: float = 0.1) -> WordMLDecoder:
    torch.manual_seed(0)
    return randomised(WordMLDecoder(TOKENS, WIDTH, dropout=dropout, **OPTIONS))


def make_grouped(num_groups: int = 4, dropout: float = 0.1) -> MLDecoder:
    torch.manual_seed(0)
    group_queries = torch.randn(num_groups, WIDTH)
    return randomised(GroupedWordMLDecoder(TOKENS, group_queries, dropout=dropout, **OPTIONS))


word_modes = pytest.mark.parametrize("make", [make_words, make_grouped])
all_modes = pytest.mark.parametrize("make", [make_fixed, make_words, make_grouped])


def inputs(head: MLDecoder, images: int = 3, tokens: int = 5, labels: int = 9) -> list[Tensor]:
    """Tokens, and label vectors if the head takes them."""
    features = torch.randn(images, tokens, TOKENS).double()
    if isinstance(head, FixedMLDecoder):
        return [features]
    return [features, torch.randn(labels, WIDTH).double()]
