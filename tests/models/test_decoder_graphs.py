"""ML-Decoder under autocast, in other precision, compiled, exported and traced."""

import copy
from collections.abc import Callable

import pytest
import torch

from tests.models.decoders import (
    all_modes,
    inputs,
    make_grouped,
    word_modes,
)
from zsl.inference.export_formats import LEAST_TORCH
from zsl.models import (
    MLDecoder,
)


@all_modes
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("training", [True, False])
def test_logits_are_float32_under_autocast(
    make: Callable[..., MLDecoder], dtype: torch.dtype, training: bool
) -> None:
    head = make(dropout=0.0).float().train(training)
    arguments = [tensor.float() for tensor in inputs(head, images=40, labels=50)]
    expected = head(*arguments)
    with torch.autocast("cpu", dtype), torch.set_grad_enabled(training):
        logits = head(*arguments)
    assert logits.dtype == torch.float32
    assert len(logits.unique()) > 0.95 * logits.numel()
    assert (logits - expected).abs().max() < 0.1 * expected.std()
    if training:
        logits.sum().backward()


@all_modes
@pytest.mark.parametrize("recompute", [False, True])
def test_compiled_head_gives_the_same(
    make: Callable[..., MLDecoder], recompute: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zsl.models.decoder._HIDDEN_AT_ONCE", 3 * 24 * 20)
    head = make(dropout=0.0)
    head.grad_checkpointing = recompute
    arguments = inputs(head, labels=40)
    compiled = copy.deepcopy(head)
    compiled.compile(backend="aot_eager", fullgraph=True)
    for training in (True, False):
        head.train(training)
        compiled.train(training)
        with torch.set_grad_enabled(training):
            logits, expected = compiled(*arguments), head(*arguments)
        torch.testing.assert_close(logits, expected)
        if training:
            logits.sum().backward()
            expected.sum().backward()
    for ours, other in zip(head.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(other.grad, ours.grad)


@all_modes
def test_exported_head_takes_any_number_of_images_and_labels(make: Callable[[], MLDecoder]) -> None:
    if make is make_grouped and torch.__version__ < LEAST_TORCH:
        pytest.skip(f"groups of any number of labels need PyTorch {LEAST_TORCH}")
    head = make().eval()
    batch, labels = (torch.export.Dim(name, max=2**20) for name in ("batch", "labels"))
    arguments = inputs(head, images=3, labels=40)
    shapes = ({0: batch}, {0: labels})[: len(arguments)]
    program = torch.export.export(head, tuple(arguments), dynamic_shapes=shapes)
    for images, number in ((3, 40), (5, 77), (2, 9)):
        arguments = inputs(head, images=images, labels=number)
        torch.testing.assert_close(program.module()(*arguments), head(*arguments))


@word_modes
@pytest.mark.filterwarnings("ignore")  # Tracing is deprecated, and warns of the checks of shapes.
def test_traced_head_takes_any_number_of_images_and_labels(make: Callable[[], MLDecoder]) -> None:
    head = make().eval()
    traced = torch.jit.trace(head, inputs(head, images=3, labels=9))
    arguments = inputs(head, images=2, labels=77)
    torch.testing.assert_close(traced(*arguments), head(*arguments))


@all_modes
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_heads_of_other_precision_take_float32_vectors(
    make: Callable[[], MLDecoder], dtype: torch.dtype
) -> None:
    head = make().eval()
    tokens, *queries = inputs(head)
    expected = head(tokens, *queries)
    vectors = [query.float() for query in queries]
    logits = head.to(dtype)(tokens.to(dtype), *vectors)
    assert logits.dtype == dtype
    assert (logits - expected).abs().max() < 0.1 * expected.std()
