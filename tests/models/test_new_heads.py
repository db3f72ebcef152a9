"""Heads as they are made: what they refuse, and what they begin with."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zsl.errors import InputError
from zsl.models import FixedMLDecoder, GroupedWordMLDecoder, WordMLDecoder, group_labels

OPTIONS: dict[str, Any] = {"embed_dim": 16, "num_heads": 8, "feedforward_dim": 24}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embed_dim": 30}, "embed_dim 30 is not divisible by num_heads 8"),
        ({"embed_dim": 0}, "embed_dim is 0; expected 1 or more"),
        ({"num_heads": 0}, "num_heads is 0; expected 1 or more"),
        ({"feedforward_dim": 0}, "feedforward_dim is 0; expected 1 or more"),
        ({"query_dim": -1}, "query_dim is -1; expected 1 or more"),
        ({"dropout": 1.0}, "dropout is 1.0; expected 0 to below 1"),
    ],
)
def test_numbers_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        WordMLDecoder(**{"token_dim": 10, "query_dim": 6, **OPTIONS, **changes})


def test_number_of_groups_is_checked() -> None:
    for num_groups in (0, 8):
        with pytest.raises(InputError, match=f"num_groups is {num_groups}; expected 1 to num_cl"):
            FixedMLDecoder(10, 7, num_groups)
    with pytest.raises(InputError, match="num_classes is 0; expected 1 or more"):
        FixedMLDecoder(10, 0)
    assert FixedMLDecoder(10, 205, **OPTIONS).readout.weight.shape == (100, 16, 3)


@pytest.mark.parametrize(
    ("group_queries", "message"),
    [
        (torch.zeros(6), r"shape \(6,\); expected \(groups, width"),
        (torch.tensor([[1.0, 2], [0, 0]]), "group query 1 is zero or not finite"),
        (torch.tensor([[float("nan"), 2], [1, 0]]), "group query 0 is zero or not finite"),
        (torch.tensor([[1.0, 2], [2, 1], [3.7, 7.4]]), "group queries 2 and 0 have the same dir"),
    ],
)
def test_group_queries_without_a_nearest_are_refused(group_queries: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        GroupedWordMLDecoder(10, group_queries)


def test_initialisation_is_that_of_the_published_head() -> None:
    torch.manual_seed(0)
    attention = WordMLDecoder(10, 6, embed_dim=256).layer.attention
    published = nn.MultiheadAttention(256, 8).in_proj_weight
    for projection in (attention.query, attention.key, attention.value):
        torch.testing.assert_close(
            projection.weight.abs().max(), published.abs().max(), rtol=1e-3, atol=0
        )
    head = FixedMLDecoder(10, 500, 100, embed_dim=256)
    bound = math.sqrt(2 / (5 * 256 + 5 * 100))
    torch.testing.assert_close(head.readout.weight.std().item(), bound, rtol=0.01, atol=0)
    torch.testing.assert_close(head.group_queries.std().item(), 1.0, rtol=0.02, atol=0)


def test_first_logits_of_groups_do_not_depend_on_the_scale_of_the_vectors() -> None:
    vectors, tokens = torch.randn(60, 32), torch.randn(20, 7, 10)
    for scale in (0.01, 1.0, 100.0):
        torch.manual_seed(0)
        head = GroupedWordMLDecoder(10, group_labels(vectors * scale, 5), embed_dim=64).eval()
        assert 0.3 < head(tokens, vectors * scale).std() < 5
