import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from tests.metrics.data import random_data
from zsl.errors import InputError
from zsl.metrics import precision_recall_f1_at_k
from zsl.metrics.calibration import calibrated_stacking, logistic_regression

IS_SEEN = torch.tensor([True] * 4 + [False] * 3)


def drowned(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Good scores, those of seen labels much too high."""
    scores, targets = random_data(300, 7, seed)
    return scores + 2 * targets + 4 * IS_SEEN, targets


@pytest.mark.parametrize("k", [1, 3, 5])
def test_stacking_is_the_best_of_a_search(k: int) -> None:
    scores, targets = drowned(0)
    targets[::9, ::2] = -1

    def f1(bias: float) -> float:
        return precision_recall_f1_at_k(scores - bias * IS_SEEN, targets, k)[2]

    bias = calibrated_stacking(scores, targets, IS_SEEN, k)
    assert f1(bias) >= max(f1(candidate) for candidate in np.linspace(-10, 10, 200)) - 0.01
    assert f1(bias) > f1(0) + 0.05
    assert 2 < bias < 6


def test_stacking_leaves_scores_that_need_nothing() -> None:
    targets = (torch.rand(50, 7, generator=torch.Generator().manual_seed(0)) < 0.4).to(torch.int8)
    targets[:, 0], targets[:, 4] = 1, 1
    assert calibrated_stacking(20.0 * targets, targets, IS_SEEN, 2) == 0


def test_the_regression_is_that_of_a_weighted_likelihood() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(400, 2, generator=generator) * torch.tensor([5.0, 0.1]) + 3
    present = features @ torch.tensor([0.4, -8.0]) + torch.randn(400, generator=generator) > -23
    weights = torch.rand(400, generator=generator)
    model = LogisticRegression(C=1e8, max_iter=10_000, tol=1e-9)
    model.fit(features.numpy(), present.numpy(), weights.numpy())
    expected = [*model.coef_[0], model.intercept_[0]]
    found = logistic_regression(features, present, weights)
    assert found.tolist() == pytest.approx(expected, rel=0.02)


def test_a_k_above_what_was_held_back_asks_all_labels() -> None:
    calibrated_stacking(*drowned(5), IS_SEEN, 9)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        (~IS_SEEN, 0, "Of 3 held-out labels none is present among 300 validation images"),
        (~IS_SEEN, -1, "Of 3 held-out labels none is present"),
        (~IS_SEEN, 1, "Of 3 held-out labels none is known to be absent"),
        (IS_SEEN, 0, "Of 4 seen labels none is present"),
    ],
)
def test_nothing_to_fit_on_is_refused(part: torch.Tensor, value: int, message: str) -> None:
    scores, targets = drowned(4)
    targets[:, part] = value
    with pytest.raises(InputError, match=message):
        calibrated_stacking(scores, targets, IS_SEEN, 3)


def test_no_held_out_labels_are_refused() -> None:
    scores, targets = drowned(4)
    with pytest.raises(InputError, match="Of 0 held-out labels none is present"):
        calibrated_stacking(scores[:, :4], targets[:, :4], IS_SEEN[:4], 3)
