import math
from typing import Any

import pytest
import timm.loss
import torch
import torch.nn.functional as F
from torch import Tensor

from zsl.errors import InputError
from zsl.losses import AsymmetricLoss, BinaryCrossEntropy, CrossEntropy, Loss, RankingLoss


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
    loss = AsymmetricLoss(gamma_negative, gamma_positive, clip, "sum")(logits, targets)
    assert loss.item() == pytest.approx(6 * expected, rel=1e-5)


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


def naive_ranking_loss(logits: Tensor, targets: Tensor) -> float:
    """The formula of arXiv 1605.09759, one pair after the other."""
    total = 0.0
    for row in range(len(logits)):
        present = [i for i, target in enumerate(targets[row].tolist()) if target == 1]
        absent = [i for i, target in enumerate(targets[row].tolist()) if target == 0]
        for p in present:
            for n in absent:
                cost = math.log(1 + math.exp(logits[row, n].item() - logits[row, p].item()))
                total += cost / (len(present) * len(absent))
    return total / len(logits)


def test_ranking_equals_the_published_formula() -> None:
    torch.manual_seed(0)
    logits = 3 * torch.randn(6, 9)
    targets = torch.randint(-1, 2, (6, 9), dtype=torch.int8)
    expected = naive_ranking_loss(logits, targets)
    assert RankingLoss()(logits, targets).item() == pytest.approx(expected, rel=1e-5)


def test_ranking_has_nothing_to_say_of_images_without_a_pair() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 5, requires_grad=True)
    targets = torch.tensor([[1] * 5, [0] * 5, [-1] * 5, [1, 0, -1, 0, 1]])
    loss = RankingLoss()(logits, targets)
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[:3] == 0).all()
    assert logits.grad[3, 2] == 0
    assert (logits.grad[3, [0, 1, 3, 4]] != 0).all()
    expected = naive_ranking_loss(logits.detach(), targets)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    nothing = RankingLoss()(logits[:3], targets[:3])
    nothing.backward()
    assert nothing == 0


def test_ranking_takes_a_degree_as_part_present_and_part_absent() -> None:
    torch.manual_seed(0)
    scores, degrees = torch.randn(4).tolist(), [0.25, 1.0, 0.0, 0.5]
    total = size = 0.0
    for score_p, present in zip(scores, degrees, strict=True):
        for score_n, degree in zip(scores, degrees, strict=True):
            total += present * (1 - degree) * math.log(1 + math.exp(score_n - score_p))
            size += present * (1 - degree)
    loss = RankingLoss()(torch.tensor([scores]), torch.tensor([degrees]))
    assert loss.item() == pytest.approx(total / size, rel=1e-5)


def test_ranking_keeps_its_memory_bounded() -> None:
    """NUS-WIDE's size: 64 images, 1006 labels; all pairs would be 64 million."""
    torch.manual_seed(0)
    logits = torch.randn(64, 1006, requires_grad=True)
    targets = (torch.rand(64, 1006) < 0.01).to(torch.int8)
    saved: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        RankingLoss()(logits, targets).backward()
    assert max(saved) == (targets == 1).sum() * 1006


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ranking_of_extreme_logits_stays_finite(dtype: torch.dtype) -> None:
    logits = torch.tensor([[1e4, -1e4, 1e4, -1e4]], dtype=dtype, requires_grad=True)
    loss = RankingLoss()(logits, torch.tensor([[1, 0, 0, 1]]))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert loss.dtype == torch.float32


@pytest.mark.parametrize("threshold", [None, 0.2])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_binary_cross_entropy_is_that_of_timm(threshold: float | None, smoothing: float) -> None:
    torch.manual_seed(0)
    logits, targets = 3 * torch.randn(6, 9), torch.rand(6, 9)
    targets[0, :4] = torch.tensor([0.0, 0.1, 0.2, 1.0])
    smoothed = targets * (1 - smoothing) + smoothing / 2
    expected = timm.loss.BinaryCrossEntropy(0, threshold)(logits, smoothed)
    own = BinaryCrossEntropy(threshold, smoothing)
    torch.testing.assert_close(own(logits, targets), expected)
    total = BinaryCrossEntropy(threshold, smoothing, "sum")
    torch.testing.assert_close(total(logits, targets), 54 * expected)


def test_binary_cross_entropy_of_timms_recipe_for_one_label_an_image() -> None:
    """Its A2 recipe: classes as numbers, no smoothing, a threshold."""
    torch.manual_seed(0)
    logits, classes = torch.randn(5, 7), torch.randint(7, (5,))
    expected = timm.loss.BinaryCrossEntropy(smoothing=0, target_threshold=0.2)(logits, classes)
    one_hot = F.one_hot(classes, 7).to(torch.int8)
    torch.testing.assert_close(BinaryCrossEntropy(0.2)(logits, one_hot), expected)


@pytest.mark.parametrize("threshold", [None, 0.2])
def test_binary_cross_entropy_leaves_unknown_targets_out(threshold: float | None) -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 6, requires_grad=True)
    targets = torch.randint(-1, 2, (4, 6), dtype=torch.int8)
    known = targets >= 0
    loss = BinaryCrossEntropy(threshold)(logits, targets)
    loss.backward()
    expected = F.binary_cross_entropy_with_logits(logits[known], targets[known].float())
    torch.testing.assert_close(loss, expected)
    assert logits.grad is not None
    assert torch.equal(logits.grad != 0, known)
    assert BinaryCrossEntropy()(logits, torch.full_like(targets, -1)) == 0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_that_of_torch_and_timm(smoothing: float) -> None:
    torch.manual_seed(0)
    logits, classes = 3 * torch.randn(6, 9), torch.randint(9, (6,))
    one_hot = F.one_hot(classes, 9).to(torch.int8)
    loss = CrossEntropy(smoothing)(logits, one_hot)
    torch.testing.assert_close(loss, F.cross_entropy(logits, classes, label_smoothing=smoothing))
    if smoothing:
        expected = timm.loss.LabelSmoothingCrossEntropy(smoothing)(logits, classes)
        torch.testing.assert_close(loss, expected)
    mixed = 0.3 * one_hot + 0.7 * one_hot.roll(1, 0)
    softened = mixed * (1 - smoothing) + smoothing / 9
    expected = timm.loss.SoftTargetCrossEntropy()(logits, softened)
    torch.testing.assert_close(CrossEntropy(smoothing)(logits, mixed), expected)


def test_cross_entropy_refuses_unknown_targets() -> None:
    targets = torch.tensor([[1, 0, 0], [0, -1, 1]], dtype=torch.int8)
    with pytest.raises(InputError, match=r"unknown targets.*take zsl\.losses\.BinaryCrossEntropy"):
        CrossEntropy()(torch.randn(2, 3), targets)


@pytest.mark.parametrize("loss", [BinaryCrossEntropy(), CrossEntropy()])
def test_cross_entropies_of_half_precision_are_computed_in_full(loss: Loss) -> None:
    logits = torch.tensor([[1e4, -1e4, 0.5]], dtype=torch.bfloat16, requires_grad=True)
    value = loss(logits, torch.tensor([[0, 1, 0]], dtype=torch.int8))
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (AsymmetricLoss, {"gamma_negative": -1.0}, "gamma_negative is -1.0; expected 0 or more"),
        (AsymmetricLoss, {"clip": 1.0}, "loss.clip is 1.0; expected 0 to below 1"),
        (AsymmetricLoss, {"reduction": "none"}, "loss.reduction is 'none'; expected mean or sum"),
        (BinaryCrossEntropy, {"reduction": "none"}, "loss.reduction is 'none'; expected mean or"),
        (BinaryCrossEntropy, {"target_threshold": 1.0}, "target_threshold is 1.0; expected 0 to"),
        (BinaryCrossEntropy, {"label_smoothing": -0.1}, "label_smoothing is -0.1; expected 0 to"),
        (CrossEntropy, {"label_smoothing": 1.0}, "loss.label_smoothing is 1.0; expected 0 to"),
    ],
)
def test_numbers_out_of_range_are_refused(
    kind: type[Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        kind(**changes)
