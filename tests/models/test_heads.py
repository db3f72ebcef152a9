"""The heads without a decoder, against their formulas written out; what the configs refuse."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zsl.errors import InputError
from zsl.models import (
    BilinearHead,
    CLIPConfig,
    CLIPHead,
    ConSEConfig,
    ConSEHead,
    Fast0TagConfig,
    Fast0TagHead,
    FixedMLDecoderConfig,
    GroupedWordMLDecoder,
    MLDecoderConfig,
    OnMeanToken,
    WordMLDecoder,
)
from zsl.models.baselines import cosine


def naive_cosine(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum() / ((left**2).sum().sqrt() * (right**2).sum().sqrt())


def test_conse_is_its_formula() -> None:
    torch.manual_seed(0)
    seen, queries = torch.randn(6, 4).double(), torch.randn(7, 4).double()
    head = ConSEHead(5, seen, num_combined=3).double().eval()
    tokens = torch.randn(3, 8, 5).double()
    scores = head(tokens, queries)
    for image in range(3):
        mean = sum(tokens[image, t] for t in range(8)) / 8
        logits = head.classify.weight @ mean + head.classify.bias
        probabilities = [1 / (1 + math.exp(-logit)) for logit in logits.tolist()]
        best = sorted(range(6), key=lambda label: -probabilities[label])[:3]
        total = sum(probabilities[label] for label in best)
        vector = torch.zeros(4).double()
        for label in best:
            unit = seen[label] / (seen[label] ** 2).sum().sqrt()
            vector += probabilities[label] / total * unit
        for label in range(7):
            torch.testing.assert_close(scores[image, label], naive_cosine(vector, queries[label]))
        torch.testing.assert_close(head.train()(tokens, seen)[image], logits)
        head.eval()
    torch.testing.assert_close(head(tokens, 3 * queries[2:4]), scores[:, 2:4])


def test_conse_combines_no_more_labels_than_there_are_and_trains_on_these_alone() -> None:
    torch.manual_seed(0)
    seen, tokens = torch.randn(6, 4), torch.randn(3, 8, 5)
    few, many = ConSEHead(5, seen, num_combined=6).eval(), ConSEHead(5, seen, num_combined=99)
    many.load_state_dict(few.state_dict())
    assert torch.equal(many.eval()(tokens, seen), few(tokens, seen))
    with pytest.raises(InputError, match="given 2 queries in training; expected the 6 seen ones"):
        many.train()(tokens, seen[:2])


def test_conse_is_finite_where_all_probabilities_underflow() -> None:
    head = ConSEHead(5, torch.randn(6, 4)).eval()
    torch.nn.init.constant_(head.classify.bias, -1e4)
    assert head(torch.randn(3, 8, 5), torch.randn(7, 4)).isfinite().all()


def test_fast0tag_is_its_formula() -> None:
    torch.manual_seed(0)
    head = Fast0TagHead(token_dim=5, query_dim=4, hidden_dim=9, dropout=0.5).double().eval()
    tokens, queries = torch.randn(3, 8, 5).double(), torch.randn(7, 4).double()
    scores = head(tokens, queries)
    weights = dict(head.direction.named_parameters())
    for image in range(3):
        mean = sum(tokens[image, t] for t in range(8)) / 8
        hidden = [
            max(value, 0) for value in (weights["0.weight"] @ mean + weights["0.bias"]).tolist()
        ]
        direction = weights["3.weight"] @ torch.tensor(hidden).double() + weights["3.bias"]
        for label in range(7):
            unit = queries[label] / (queries[label] ** 2).sum().sqrt()
            torch.testing.assert_close(scores[image, label], (direction * unit).sum())
    assert not torch.equal(head.train()(tokens, queries), scores)


def test_clip_is_a_hundred_cosines() -> None:
    torch.manual_seed(0)
    embeddings, queries = torch.randn(3, 1, 4).double(), torch.randn(7, 4).double()
    scores = CLIPHead()(embeddings, queries)
    for image in range(3):
        for label in range(7):
            expected = 100 * naive_cosine(embeddings[image, 0], queries[label])
            torch.testing.assert_close(scores[image, label], expected)
    assert not list(CLIPHead().parameters())


def test_on_the_mean_token_a_head_is_itself_without_attention() -> None:
    torch.manual_seed(0)
    decoder = WordMLDecoder(5, 4, embed_dim=8, num_heads=2, feedforward_dim=16).eval()
    tokens, queries = torch.randn(3, 6, 5), torch.randn(7, 4)
    pooled = OnMeanToken(decoder)
    logits = pooled(tokens, queries)
    for image in range(3):
        mean = sum(tokens[image, t] for t in range(6)) / 6
        expected = decoder(mean.reshape(1, 1, 5), queries)[0]  # type: ignore[union-attr]
        torch.testing.assert_close(logits[image], expected)
    torch.testing.assert_close(pooled(tokens[:, torch.randperm(6)], queries), logits)
    as_map = tokens.mT.unflatten(2, (2, 3))  # (B, C, H, W)
    torch.testing.assert_close(pooled(as_map, queries), logits)
    bilinear = BilinearHead(5, 4)
    torch.testing.assert_close(OnMeanToken(bilinear)(tokens, queries), bilinear(tokens, queries))


@pytest.mark.parametrize("name", ["bilinear", "conse", "fast0tag", "clip"])
def test_scores_are_single_precision_under_autocast(name: str) -> None:
    seen = torch.randn(6, 5)
    head = {
        "bilinear": BilinearHead(5, 5),
        "conse": ConSEHead(5, seen),
        "fast0tag": Fast0TagHead(5, 5, 9, 0.0),
        "clip": CLIPHead(),
    }[name].eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert head(torch.randn(3, 1, 5).bfloat16(), seen).dtype == torch.float32


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (MLDecoderConfig, {"num_groups": 0}, "head.num_groups is 0; expected 1 or more"),
        (MLDecoderConfig, {"embed_dim": 30}, "head.embed_dim 30 is not divisible by head.num_hea"),
        (MLDecoderConfig, {"num_heads": 0}, "head.num_heads is 0; expected 1 or more"),
        (MLDecoderConfig, {"feedforward_dim": 0}, "head.feedforward_dim is 0; expected 1 or more"),
        (MLDecoderConfig, {"dropout": 2.0}, "head.dropout is 2.0; expected 0 to below 1"),
        (Fast0TagConfig, {"hidden_dim": 0}, "head.hidden_dim is 0; expected 1 or more"),
        (Fast0TagConfig, {"dropout": 1.0}, "head.dropout is 1.0; expected 0 to below 1"),
        (ConSEConfig, {"num_combined": 0}, "head.num_combined is 0; expected 1 or more"),
    ],
)
def test_numbers_out_of_range_are_refused(
    config: type, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        config(**changes)


def test_configs_make_the_heads_they_describe() -> None:
    seen = torch.randn(6, 4)
    tiny: dict[str, Any] = {"embed_dim": 8, "num_heads": 2, "feedforward_dim": 16}
    full = MLDecoderConfig(**tiny, seen_span=True, grad_checkpointing=True).make(5, seen)
    assert isinstance(full, WordMLDecoder)
    assert full.span is not None
    assert full.grad_checkpointing
    assert FixedMLDecoderConfig(**tiny, grad_checkpointing=True).make(5, 6).grad_checkpointing
    grouped = MLDecoderConfig(9, **tiny, query_relu=False).make(5, seen)
    assert isinstance(grouped, GroupedWordMLDecoder)
    assert len(grouped.group_queries) == 6
    assert not grouped.query_relu
    assert isinstance(MLDecoderConfig(**tiny, pool_tokens=True).make(5, seen), OnMeanToken)
    fast = Fast0TagConfig(9).make(5, seen)
    assert fast.direction[0].out_features == 9
    assert ConSEConfig(2).make(5, seen).num_combined == 2
    with pytest.raises(InputError, match="embeds images in 5 numbers, the encoder labels in 4"):
        CLIPConfig().make(5, seen)


def test_parts_count_by_their_best() -> None:
    torch.manual_seed(0)
    tokens, queries = torch.randn(3, 6, 4).double(), torch.randn(7, 4).double()
    scores = CLIPHead(local=0.25, top_k=2)(tokens, queries)
    for image in range(3):
        for label in range(7):
            whole, *parts = (naive_cosine(token, queries[label]) for token in tokens[image])
            first, second = sorted(parts, reverse=True)[:2]
            expected = 100 * (0.75 * whole + 0.25 * (first + second) / 2)
            torch.testing.assert_close(scores[image, label], expected)
    every = CLIPHead(local=1.0, top_k=16)(tokens, queries)
    mean = torch.stack([100 * cosine(part, queries) for part in tokens[:, 1:].unbind(1)]).mean(0)
    torch.testing.assert_close(every, mean)
    with pytest.raises(
        InputError, match=r"head.local is 0.5, but the backbone returns the image v"
    ):
        CLIPHead(0.5)(tokens[:, :1], queries)


def test_a_scale_that_is_not_in_a_checkpoint_is_that_of_clip() -> None:
    head = CLIPHead()
    head.logit_scale.fill_(7)
    assert CLIPHead().load_state_dict(head.state_dict())
    nn.Sequential(head).load_state_dict({})
    assert head.logit_scale == 100
