"""Where the decoder looks: the weights that its forward pass uses."""

from typing import Any

import pytest
import torch
from torch import Tensor

from zsl.models import (
    Backbone,
    GroupedWordMLDecoder,
    TimmBackboneConfig,
    WordMLDecoder,
    decoder,
    group_labels,
)
from zsl.models.decoder import CrossAttention

OPTIONS: dict[str, Any] = {"embed_dim": 16, "num_heads": 4, "feedforward_dim": 24}


def test_the_weights_give_the_output_of_the_layer() -> None:
    torch.manual_seed(0)
    attention = CrossAttention(16, 4, 0.1).eval()
    queries, tokens = torch.randn(5, 16), torch.randn(3, 7, 16)
    memory = attention.remember(tokens)
    projected = attention.query(queries)
    weights = attention.weights(projected, memory)
    assert weights.shape == (3, 4, 5, 7)
    attended = torch.einsum("bhqt,bhtd->bqhd", weights, memory.values).flatten(2)
    torch.testing.assert_close(attention.out(attended), attention(projected, memory))


def published(head: WordMLDecoder, tokens: Tensor, vectors: Tensor) -> Tensor:
    """The mean weights (B, L, T) by PyTorch's own layer, with the head's parameters."""
    own = head.layer.attention
    reference = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    parts = (own.query, own.key, own.value)
    assert head.embed_queries is not None
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        reference.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        memory = head.embed_tokens(tokens).relu()
        queries = head.layer.norm1(2 * head.embed_queries(vectors).relu())
        _, weights = reference(queries.expand(len(tokens), -1, -1), memory, memory)
    return weights


def test_full_decoding_looks_where_the_published_layer_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(1)
    head = WordMLDecoder(10, 6, **OPTIONS).eval()
    tokens, vectors = torch.randn(3, 9, 10), torch.randn(8, 6)
    expected = published(head, tokens, vectors)
    torch.testing.assert_close(head.attention(tokens, vectors), expected)
    monkeypatch.setattr(decoder, "_WEIGHTS_AT_ONCE", 4 * 9 * 3)  # Three labels at a time.
    torch.testing.assert_close(head.attention(tokens, vectors), expected)


def test_a_label_looks_where_its_group_does() -> None:
    torch.manual_seed(2)
    vectors, tokens = torch.randn(20, 6), torch.randn(3, 9, 10)
    head = GroupedWordMLDecoder(10, group_labels(vectors, 4), **OPTIONS).eval()
    with torch.no_grad():
        maps = head.attention(tokens, vectors)
        of_groups = published(head, tokens, head.group_queries)  # type: ignore[arg-type]
    centres = torch.nn.functional.normalize(head.group_queries, dim=1)
    groups = [int((centres @ vector).argmax()) for vector in vectors]
    assert len(set(groups)) == 4
    torch.testing.assert_close(maps, of_groups[:, groups])


@pytest.mark.parametrize(
    ("name", "stride", "num_tokens"),
    [("test_resnet", 32, 4), ("test_resnet", 16, 16), ("test_resnet", 8, 64), ("test_vit", 16, 16)],
)
def test_every_backbone_has_maps(name: str, stride: int, num_tokens: int) -> None:
    backbone = Backbone(
        TimmBackboneConfig(name, weights=None, stride=stride if name == "test_resnet" else None), 64
    ).eval()
    head = WordMLDecoder(backbone.token_dim, 6, **OPTIONS).eval()
    with torch.no_grad():
        maps = head.attention(backbone(torch.rand(2, 3, 64, 64)), torch.randn(5, 6))
    assert maps.shape == (2, 5, num_tokens)
    torch.testing.assert_close(maps.sum(dim=2), torch.ones(2, 5))
