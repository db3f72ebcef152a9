"""What scoring keeps of an image gives the scores that its tokens give."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.fakes.parts import randomise, tiny_backbone
from zsl.models import (
    BilinearConfig,
    ClosedFormConfig,
    FixedMLDecoderConfig,
    MLDecoderConfig,
    ScoresConfig,
    TaggerNetwork,
    WordMLDecoder,
)
from zsl.models.decoder import CrossAttention

NORMALISED: dict[str, Any] = {"scores": ScoresConfig(3)}
DECODER = MLDecoderConfig(embed_dim=16, num_heads=4, feedforward_dim=8)
GROUPED = MLDecoderConfig(num_groups=3, embed_dim=16, num_heads=4, feedforward_dim=8)
PARTS: list[tuple[Any, dict[str, Any]]] = [
    (DECODER, {}),
    (GROUPED, {}),
    (MLDecoderConfig(embed_dim=16, feedforward_dim=8, pool_tokens=True), {}),
    (BilinearConfig(), {}),
    (ClosedFormConfig(local_tokens=2, own_classes=False), NORMALISED),
    (GROUPED, NORMALISED | {"closed_form": ClosedFormConfig(2, own_classes=False)}),
]


def make(head: Any, parts: dict[str, Any]) -> TaggerNetwork:
    torch.manual_seed(0)
    vectors = None if isinstance(head, FixedMLDecoderConfig) else torch.randn(7, 12)
    network = TaggerNetwork.make(tiny_backbone(), head, 64, vectors, 5, **parts).eval()
    randomise(network)
    for scorer in (network.closed_form, network.head):
        if isinstance(getattr(scorer, "map", None), Tensor):
            torch.nn.init.normal_(scorer.map)  # type: ignore[union-attr, arg-type]
    if network.scores is not None:
        network.scores.sample.normal_()
    return network


def token_dim(network: TaggerNetwork) -> int:
    backbone: Any = network.backbone
    return int(backbone.token_dim)


@pytest.mark.parametrize(("head", "parts"), PARTS)
@pytest.mark.parametrize("num_labels", [1, 2, 60])
@torch.no_grad()
def test_the_scores_are_those_of_the_tokens(
    head: Any, parts: dict[str, Any], num_labels: int
) -> None:
    network = make(head, parts)
    tokens = torch.randn(4, 16, token_dim(network))
    queries = torch.randn(num_labels, 12)
    seen = network.prepare(network.scores.seen_vectors) if network.scores else None
    for remembered in (network.remember(tokens), network.remember(tokens, seen)):
        for asked in (queries, network.prepare(queries)):
            expected = network.score(tokens, asked)
            assert expected.std() > 0.01 or num_labels == 1
            torch.testing.assert_close(network.score(remembered, asked), expected)


@torch.no_grad()
def test_fixed_classes_remember_the_tokens() -> None:
    network = make(FixedMLDecoderConfig(embed_dim=16, feedforward_dim=8), {})
    tokens = torch.randn(2, 16, token_dim(network))
    for asked in (None, torch.tensor([4, 1])):
        remembered = network.remember(tokens)
        assert torch.equal(network.score(remembered, asked), network.score(tokens, asked))


@pytest.mark.parametrize("num_queries", [1, 3])
@torch.no_grad()
def test_attention_without_keys_and_values_is_attention(num_queries: int) -> None:
    torch.manual_seed(0)
    attention = CrossAttention(24, 3, 0.1).eval()
    randomise(attention)
    queries, tokens = 3 * torch.randn(num_queries, 24), 3 * torch.randn(2, 5, 24)
    expected = attention(queries, attention.remember(tokens))
    torch.testing.assert_close(attention.attend_directly(queries, tokens), expected)


@torch.no_grad()
def test_few_labels_make_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    head = WordMLDecoder(8, 6, embed_dim=16, num_heads=2, feedforward_dim=8).eval()
    remembered, made = head.remember(torch.randn(2, 9, 8)), []
    remember = CrossAttention.remember

    def note(self: CrossAttention, tokens: Tensor) -> Any:
        made.append(len(tokens))
        return remember(self, tokens)

    monkeypatch.setattr(CrossAttention, "remember", note)
    head.answer(remembered, torch.randn(5, 6))  # 5 · (2 · 2 · 9 + 16) < 2 · 9 · 16
    assert made == []
    head.answer(remembered, torch.randn(6, 6))
    assert made == [2]
