"""Activations that the backward pass makes again."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from tests.models.decoders import (
    all_modes,
    inputs,
    make_words,
)
from zsl.models import (
    MLDecoder,
)


@all_modes
@pytest.mark.parametrize("autocast", [False, True])
def test_recomputed_activations_give_the_same(
    make: Callable[..., MLDecoder], autocast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zsl.models.decoder._HIDDEN_AT_ONCE", 3 * 24 * 2)
    head = make(dropout=0.0).to(torch.float32 if autocast else torch.float64)
    arguments = [tensor.to(head.embed_tokens.weight) for tensor in inputs(head)]

    def train() -> tuple[Tensor, Tensor]:
        """Logits and gradients."""
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = head(*arguments)
        return logits, parameters_to_vector(
            torch.autograd.grad(logits.square().sum(), list(head.parameters()))
        )

    expected, expected_gradients = train()
    head.grad_checkpointing = True
    logits, gradients = train()
    assert logits.dtype == expected.dtype
    tolerance = 0.02 if autocast else 1e-12
    assert (logits - expected).norm() < tolerance * expected.norm()
    assert (gradients - expected_gradients).norm() < tolerance * expected_gradients.norm()


@all_modes
def test_recomputed_activations_have_the_same_dropout(
    make: Callable[..., MLDecoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zsl.models.decoder._HIDDEN_AT_ONCE", 3 * 24 * 2)
    head = make(dropout=0.3)
    head.grad_checkpointing = True
    arguments = inputs(head)
    start = parameters_to_vector(head.parameters()).detach()
    step = 1e-7 * torch.randn_like(start)

    def loss(parameters: Tensor) -> Tensor:
        vector_to_parameters(parameters, head.parameters())
        torch.manual_seed(1)
        return head(*arguments).square().sum()

    difference = (loss(start + step) - loss(start - step)).detach()
    gradients = torch.autograd.grad(loss(start), list(head.parameters()))
    slope = 2 * parameters_to_vector(gradients) @ step
    torch.testing.assert_close(slope, difference, rtol=1e-5, atol=0)


def test_recomputed_activations_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zsl.models.decoder._HIDDEN_AT_ONCE", 3 * 24 * 10)
    head = make_words()
    head.grad_checkpointing = True

    def kept(labels: int) -> int:
        """Numbers that the graph of so many labels holds, beside label vectors and logits."""
        tokens, queries = inputs(head, labels=labels)
        held: dict[int, int] = {}

        def hold(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            held[storage.data_ptr()] = storage.nbytes() // tensor.itemsize
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
            logits = head(tokens, queries)
        held.pop(queries.untyped_storage().data_ptr(), None)
        assert logits.shape == (3, labels)
        return sum(held.values())

    assert kept(100) == kept(20)
    head.grad_checkpointing = False
    assert kept(100) > 3 * kept(20)


@all_modes
def test_nothing_is_recomputed_in_evaluation(
    make: Callable[[], MLDecoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def recomputed(decode: Callable[..., Tensor], *part: Tensor, **_: object) -> Tensor:
        calls.append("called")
        return decode(*part)

    monkeypatch.setattr("zsl.models.decoder.checkpoint", recomputed)
    head = make()
    head.grad_checkpointing = True
    arguments = inputs(head)
    head.eval()(*arguments).sum().backward()
    with torch.no_grad():
        head.train()(*arguments)
    assert not calls
    head(*arguments)
    assert calls
