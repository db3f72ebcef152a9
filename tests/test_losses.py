import math

import pytest
import torch
from torch import Tensor

from zsl.losses import AsymmetricLoss


def naive_loss(
    logits: Tensor, targets: Tensor, gamma_negative: float, gamma_positive: float, clip: float
) -> float:
    """The formula of arXiv 2009.14119, one entry after the other."""
    total = 0.0
    for row in range(len(logits)):
        for column in range(logits.shape[1]):
            target = targets[row, column].item()
            if target < 0:
                continue
            p = 1 / (1 + math.exp(-logits[row, column].item()))
            shifted = max(p - clip, 0)
            present = (1 - p) ** gamma_positive * math.log(p)
            absent = shifted**gamma_negative * math.log(1 - shifted)
            total -= target * present + (1 - target) * absent
    return total / len(logits)


@pytest.mark.parametrize(
    ("gamma_negative", "gamma_positive", "clip"),
    [(4, 0, 0.05), (4, 1, 0.05), (2, 0.5, 0), (0, 0, 0)],
)
def test_equals_the_published_formula(
    gamma_negative: float, gamma_positive: float, clip: float
) -> None:
    torch.manual_seed(0)
    logits = 3 * torch.randn(6, 9)
    targets = torch.randint(-1, 2, (6, 9), dtype=torch.int8)
    loss = AsymmetricLoss(gamma_negative, gamma_positive, clip)(logits, targets)
    expected = naive_loss(logits, targets, gamma_negative, gamma_positive, clip)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_is_binary_cross_entropy_without_focusing_and_clip() -> None:
    logits, targets = torch.randn(4, 5), torch.rand(4, 5)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, targets, reduction="sum"
    )
    torch.testing.assert_close(AsymmetricLoss(0, 0, 0)(logits, targets), expected / 4)


def test_unknown_targets_have_no_gradient() -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    targets = torch.ones(3, 4, dtype=torch.int8)
    targets[:, 1] = -1
    AsymmetricLoss()(logits, targets).backward()
    assert logits.grad is not None
    assert (logits.grad[:, 1] == 0).all()
    assert (logits.grad[:, [0, 2, 3]] != 0).all()


def test_focusing_weights_are_constants_in_the_gradient() -> None:
    logits = torch.tensor([[0.7]], requires_grad=True)
    AsymmetricLoss(4, 0, 0)(logits, torch.zeros(1, 1, dtype=torch.int8)).backward()
    p = torch.sigmoid(torch.tensor(0.7))
    assert logits.grad is not None
    # d/dx of -log(1 - p) is p, times the constant p^4.
    torch.testing.assert_close(logits.grad[0, 0], p**5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_logits_stay_finite(dtype: torch.dtype) -> None:
    logits = torch.tensor([[1e4, -1e4, 1e4, -1e4]], dtype=dtype, requires_grad=True)
    loss = AsymmetricLoss()(logits, torch.tensor([[1, 0, 0, 1]]))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert loss.dtype == torch.float32
