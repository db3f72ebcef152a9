import itertools

import pytest
import torch
from torch import Tensor

from zsl.errors import InputError
from zsl.models import MLDecoder


def make_decoder(dropout: float = 0.1) -> MLDecoder:
    torch.manual_seed(0)
    decoder = MLDecoder(
        token_dim=10, query_dim=6, embed_dim=16, num_heads=4, feedforward_dim=24, dropout=dropout
    )
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return decoder.double()


def naive_logit(decoder: MLDecoder, tokens: Tensor, query: Tensor) -> Tensor:
    """The published formula for one image (T, C) and one label (W,), head by head."""
    layer, attention = decoder.layer, decoder.layer.attention

    def linear(module: torch.nn.Linear, x: Tensor) -> Tensor:
        return x @ module.weight.T + module.bias

    def norm(module: torch.nn.LayerNorm, x: Tensor) -> Tensor:
        deviation = ((x - x.mean()) ** 2).mean().add(module.eps).sqrt()
        return (x - x.mean()) / deviation * module.weight + module.bias

    memory = linear(decoder.embed_tokens, tokens).clamp(min=0)
    target = linear(decoder.embed_queries, query).clamp(min=0)
    target = norm(layer.norm1, target + target)
    width = len(target) // attention.num_heads
    heads = []
    for head in range(attention.num_heads):
        part = slice(head * width, (head + 1) * width)
        asked = linear(attention.query, target)[part]
        scores = torch.stack([asked @ linear(attention.key, m)[part] for m in memory])
        weights = (scores / width**0.5).exp() / (scores / width**0.5).exp().sum()
        values = [linear(attention.value, m)[part] for m in memory]
        heads.append(sum((w * v for w, v in zip(weights, values, strict=True)), torch.zeros(width)))
    target = norm(layer.norm2, target + linear(attention.out, torch.cat(heads)))
    first, last = layer.feedforward[0], layer.feedforward[-1]
    assert isinstance(first, torch.nn.Linear)
    assert isinstance(last, torch.nn.Linear)
    target = norm(layer.norm3, target + linear(last, linear(first, target).clamp(min=0)))
    return linear(decoder.readout, target)[0]


@pytest.mark.parametrize(("images", "num_tokens", "labels"), [(3, 5, 7), (1, 1, 1)])
def test_equals_the_published_formula(images: int, num_tokens: int, labels: int) -> None:
    decoder = make_decoder().eval()
    tokens = torch.randn(images, num_tokens, 10).double()
    queries = torch.randn(labels, 6).double()
    expected = torch.stack(
        [torch.stack([naive_logit(decoder, t, q) for q in queries]) for t in tokens]
    )
    torch.testing.assert_close(decoder(tokens, queries), expected, rtol=1e-10, atol=1e-10)


def test_gradients_equal_those_of_the_published_formula() -> None:
    decoder = make_decoder(dropout=0.0)
    tokens, queries = torch.randn(2, 3, 10).double(), torch.randn(4, 6).double()
    weights = torch.randn(2, 4).double()
    parameters = list(decoder.parameters())
    fast = torch.autograd.grad((decoder(tokens, queries) * weights).sum(), parameters)
    naive = sum(
        naive_logit(decoder, tokens[i], queries[j]) * weights[i, j]
        for i, j in itertools.product(range(2), range(4))
    )
    assert isinstance(naive, Tensor)
    for ours, theirs in zip(fast, torch.autograd.grad(naive, parameters), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-9)


def test_a_label_does_not_depend_on_the_other_labels_or_images() -> None:
    decoder = make_decoder().eval()
    tokens, queries = torch.randn(3, 5, 10).double(), torch.randn(9, 6).double()
    logits = decoder(tokens, queries)
    order = torch.randperm(9)
    torch.testing.assert_close(decoder(tokens, queries[order]), logits[:, order])
    torch.testing.assert_close(decoder(tokens, queries[4:5]), logits[:, 4:5])
    torch.testing.assert_close(decoder(tokens[1:2], queries), logits[1:2])


def test_dropout_acts_in_training_only() -> None:
    decoder = make_decoder(dropout=0.5)
    tokens, queries = torch.randn(2, 5, 10).double(), torch.randn(4, 6).double()
    assert not torch.equal(decoder.train()(tokens, queries), decoder(tokens, queries))
    assert torch.equal(decoder.eval()(tokens, queries), decoder(tokens, queries))


def test_logits_are_float32_under_autocast() -> None:
    decoder = make_decoder().float().eval()
    tokens, queries = torch.randn(40, 5, 10), torch.randn(50, 6)
    with torch.autocast("cpu", torch.bfloat16):
        logits = decoder(tokens, queries)
    assert logits.dtype == torch.float32
    assert len(logits.unique()) > 0.95 * logits.numel()
    expected = decoder(tokens, queries)
    assert (logits - expected).abs().max() < 0.1 * expected.std()


def test_width_must_be_divisible_by_the_heads() -> None:
    with pytest.raises(InputError, match="embed_dim 30 is not divisible by num_heads 8"):
        MLDecoder(10, 6, embed_dim=30, num_heads=8)


def test_initialisation_is_that_of_the_published_head() -> None:
    torch.manual_seed(0)
    attention = MLDecoder(10, 6, embed_dim=256).layer.attention
    published = torch.nn.MultiheadAttention(256, 8).in_proj_weight
    for projection in (attention.query, attention.key, attention.value):
        torch.testing.assert_close(
            projection.weight.abs().max(), published.abs().max(), rtol=1e-3, atol=0
        )
