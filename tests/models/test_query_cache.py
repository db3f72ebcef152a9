"""What is kept between calls is never stale."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.prune import random_unstructured

from zsl.models import FixedMLDecoder, GroupedWordMLDecoder, MLDecoder, WordMLDecoder
from zsl.models.decoder import DecoderLayer, PreparedQueries
from zsl.models.grouping import nearest_group

OPTIONS: dict[str, Any] = {"embed_dim": 16, "num_heads": 2, "feedforward_dim": 24}
TOKENS, QUERIES = torch.randn(2, 5, 10), torch.randn(9, 6)


def make_fixed() -> MLDecoder:
    return FixedMLDecoder(10, 7, 3, **OPTIONS)


def make_words() -> MLDecoder:
    return WordMLDecoder(10, 6, **OPTIONS)


def make_grouped() -> MLDecoder:
    return GroupedWordMLDecoder(10, torch.randn(3, 6), **OPTIONS)


modes = pytest.mark.parametrize("make", [make_fixed, make_words, make_grouped])


def arguments(head: MLDecoder, queries: Tensor = QUERIES) -> list[Tensor]:
    return [TOKENS] if isinstance(head, FixedMLDecoder) else [TOKENS, queries]


@torch.no_grad()
def score(head: MLDecoder, queries: Tensor = QUERIES) -> Tensor:
    return head(*arguments(head, queries))


def fresh(head: MLDecoder, queries: Tensor = QUERIES) -> Tensor:
    """Scores with nothing kept: a copy is empty."""
    return score(copy.deepcopy(head), queries)


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collects how many queries a head has worked on, each time."""
    calls: list[int] = []
    prepare = DecoderLayer.prepare

    def counted(self: DecoderLayer, queries: Tensor) -> PreparedQueries:
        calls.append(len(queries))
        return prepare(self, queries)

    monkeypatch.setattr(DecoderLayer, "prepare", counted)
    return calls


@modes
def test_query_side_is_computed_once_for_a_vocabulary(
    make: Callable[[], MLDecoder], prepared: list[int]
) -> None:
    head = make().eval()
    first = score(head)
    for queries in (QUERIES, QUERIES.clone(), torch.cat([QUERIES[:4], QUERIES[4:]])):
        assert torch.equal(score(head, queries), first)
    with torch.inference_mode():
        assert torch.equal(head(*arguments(head)), first)
    assert len(prepared) == 1
    head.train()
    score(head)
    head.eval()(*arguments(head))  # With gradients.
    assert len(prepared) == 3


def test_labels_are_grouped_once_for_a_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counted(vectors: Tensor, group_queries: Tensor) -> Tensor:
        calls.append(len(vectors))
        return nearest_group(vectors, group_queries)

    monkeypatch.setattr("zsl.models.ml_decoder.nearest_group", counted)
    head = make_grouped().eval()
    for queries in (QUERIES, QUERIES.clone(), QUERIES[:4], QUERIES[:4]):
        score(head, queries)
    assert calls == [9, 4]


def step(head: MLDecoder) -> None:
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.1)
    head(*arguments(head)).square().sum().backward()
    optimizer.step()


def step_fused(head: MLDecoder) -> None:
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1, fused=True)
    head(*arguments(head)).square().sum().backward()
    optimizer.step()


def train_a_step(head: MLDecoder) -> None:
    head.train()
    step(head)
    head.eval()


def load(head: MLDecoder) -> None:
    head.load_state_dict({k: v + 1 for k, v in head.state_dict().items()})


def load_by_assignment(head: MLDecoder) -> None:
    head.load_state_dict({k: v + 1 for k, v in head.state_dict().items()}, assign=True)


def write_through_data(head: MLDecoder) -> None:
    for parameter in head.parameters():
        parameter.data.add_(1)


def write_through_numpy(head: MLDecoder) -> None:
    for parameter in head.layer.attention.query.parameters():
        parameter.detach().numpy()[:] += 1


def replace_a_parameter(head: MLDecoder) -> None:
    head.layer.norm1.weight = nn.Parameter(torch.full((16,), 2.0))


def take_a_parameter_away(head: MLDecoder) -> None:
    head.layer.norm1.bias = None  # type: ignore[assignment]


def add_an_adapter(head: MLDecoder) -> None:
    head.layer.attention.query = nn.Sequential(head.layer.attention.query, nn.Linear(16, 16))  # type: ignore[assignment]


def prune_more(head: MLDecoder) -> None:
    random_unstructured(head.layer.attention.query, "weight", 0.5)


def add_a_hook(head: MLDecoder) -> None:
    head.layer.norm1.register_forward_hook(lambda module, args, output: output + 1)


@modes
@pytest.mark.parametrize(
    "change",
    [
        step,
        step_fused,
        train_a_step,
        load,
        load_by_assignment,
        write_through_data,
        write_through_numpy,
        replace_a_parameter,
        take_a_parameter_away,
        add_an_adapter,
        prune_more,
        add_a_hook,
    ],
)
def test_a_changed_head_is_never_stale(
    make: Callable[[], MLDecoder], change: Callable[[MLDecoder], None]
) -> None:
    head = make().eval()
    nn.init.normal_(head.layer.norm1.bias)
    if change is prune_more:
        prune_more(head)
    before = score(head)
    change(head)
    after = score(head)
    assert not torch.allclose(after, before)
    assert torch.equal(after, fresh(head))


@pytest.mark.parametrize("make", [make_words, make_grouped])
def test_changed_queries_are_never_stale(make: Callable[[], MLDecoder]) -> None:
    head, queries = make().eval(), QUERIES.clone()
    before = score(head, queries)
    queries.data[3] += 1
    after = score(head, queries)
    assert not torch.equal(after[:, 3], before[:, 3])
    assert torch.equal(after, fresh(head, queries))
    assert score(head, queries[:4]).shape == (2, 4)


@modes
def test_changed_precision_is_never_stale(make: Callable[[], MLDecoder]) -> None:
    head = make().eval()
    before = score(head)
    with torch.autocast("cpu", torch.bfloat16):
        half = score(head)
        assert torch.equal(half, fresh(head))
    assert not torch.equal(half, before)
    assert torch.equal(score(head), before)
    doubled = copy.deepcopy(head).double()
    tokens, *queries = [argument.double() for argument in arguments(head)]
    with torch.no_grad():
        head.double()
        assert torch.equal(head(tokens, *queries), doubled(tokens, *queries))


def test_what_was_kept_under_inference_mode_serves_gradients_no_harm() -> None:
    head = make_words().eval()
    with torch.inference_mode():
        expected = head(TOKENS, QUERIES)
    logits = head(TOKENS, QUERIES)
    logits.sum().backward()
    assert torch.equal(logits.detach(), expected)


@modes
def test_dropout_switched_on_for_inference_is_drawn_each_time(
    make: Callable[[], MLDecoder],
) -> None:
    head = make().eval()
    score(head)
    head.layer.dropout.train()
    assert not torch.equal(score(head), score(head))


@pytest.mark.parametrize("make", [make_words, make_grouped])
def test_a_trace_keeps_nothing(make: Callable[[], MLDecoder]) -> None:
    head = make().eval()
    score(head)
    with torch.no_grad():
        traced = torch.jit.trace(head, (TOKENS, QUERIES))
        others = torch.randn(9, 6)
        torch.testing.assert_close(traced(TOKENS, others), head(TOKENS, others))


def test_what_was_kept_is_given_up_for_training_and_on_a_move() -> None:
    head = make_grouped().eval()
    score(head)
    assert head._cache._kept.keys() == {"queries", "groups"}
    head.double().float()
    assert not head._cache._kept
    score(head)
    head.train()
    assert not head._cache._kept
