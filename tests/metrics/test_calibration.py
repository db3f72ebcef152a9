import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from tests.metrics.data import random_data
from zsl.errors import InputError
from zsl.metrics import average_precision, precision_recall_f1_at_k
from zsl.metrics.calibration import LabelCalibration, calibrated_stacking

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


def test_label_calibration_is_a_logistic_regression() -> None:
    scores, targets = drowned(1)
    scores = scores * (1 + torch.arange(7)) + torch.arange(7)
    targets[::7, 2] = -1
    calibration = LabelCalibration.fit(scores, targets, IS_SEEN)
    for part, found in ((IS_SEEN, calibration.seen), (~IS_SEEN, calibration.unseen)):
        rows, present = [], []
        for label in part.nonzero().flatten().tolist():
            column = scores[:, label].double().numpy()
            for image in range(len(scores)):
                if targets[image, label] >= 0:
                    rows.append((column[image], column.mean(), column.std()))
                    present.append(int(targets[image, label]))
        model = LogisticRegression(C=1e6, max_iter=10_000, tol=1e-8).fit(rows, present)
        expected = [*model.coef_[0], model.intercept_[0]]
        logits = np.array(rows) @ np.array(found[:3]) + found[3]
        assert logits == pytest.approx(np.array(rows) @ expected[:3] + expected[3], abs=0.05)


def test_calibrated_labels_keep_their_ranking_and_are_no_longer_drowned() -> None:
    scores, targets = drowned(2)
    calibration = LabelCalibration.fit(*drowned(3), IS_SEEN)
    found = calibration.apply(scores, drowned(3)[0], IS_SEEN)
    torch.testing.assert_close(
        average_precision(found, targets), average_precision(scores, targets)
    )
    raw, calibrated = (precision_recall_f1_at_k(s, targets, 2)[2] for s in (scores, found))
    assert calibrated > raw + 0.05
    assert (found.sigmoid().mean(dim=0) - 0.3).abs().max() < 0.1  # Probabilities: 30 % present.


def test_a_label_is_calibrated_by_its_own_scores_on_validation_images() -> None:
    calibration = LabelCalibration((1.0, 0.0, 0.0, 0.5), (2.0, -1.0, 0.5, 0.0))
    scores = torch.tensor([[1.0, 2.0, 3.0]])
    validation = torch.tensor([[0.0, 5.0, 1.0], [0.0, 9.0, 3.0]])
    found = calibration.apply(scores, validation, torch.tensor([True, False, False]))
    assert found.tolist() == [[1.5, 2 * 2 - 7 + 0.5 * 2, 2 * 3 - 2 + 0.5 * 1]]


def test_a_k_above_what_was_held_back_asks_all_labels() -> None:
    calibrated_stacking(*drowned(5), IS_SEEN, 9)


def test_labels_that_score_lower_where_they_are_present_are_refused() -> None:
    scores, targets = drowned(6)
    scores[:, 4:] -= 8 * targets[:, 4:]
    with pytest.raises(InputError, match="The held-out labels score no higher where they are"):
        LabelCalibration.fit(scores, targets, IS_SEEN)


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
        LabelCalibration.fit(scores, targets, IS_SEEN)
    with pytest.raises(InputError, match=message):
        calibrated_stacking(scores, targets, IS_SEEN, 3)


def test_no_held_out_labels_are_refused() -> None:
    scores, targets = drowned(4)
    with pytest.raises(InputError, match="Of 0 held-out labels none is present"):
        calibrated_stacking(scores[:, :4], targets[:, :4], IS_SEEN[:4], 3)
