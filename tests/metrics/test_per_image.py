import numpy as np
import pytest
import torch
from sklearn.metrics import coverage_error, precision_recall_fscore_support

from tests.metrics.data import random_data
from zsl.errors import InputError
from zsl.metrics import at_threshold, coverage, precision_recall_f1_at_k


@pytest.mark.parametrize("k", [1, 3, 6])
def test_precision_recall_f1_equal_a_naive_loop(k: int) -> None:
    scores, targets = random_data(40, 6, seed=6)
    targets[3] = 0
    hits = asked = positives = 0
    for image_scores, image_targets in zip(scores.tolist(), targets.tolist(), strict=True):
        best = sorted(range(6), key=lambda label: -image_scores[label])[:k]
        hits += sum(image_targets[label] for label in best)
        asked += k
        positives += sum(image_targets)
    precision, recall = hits / asked, hits / positives
    expected = (precision, recall, 2 * precision * recall / (precision + recall))
    assert precision_recall_f1_at_k(scores, targets, k) == pytest.approx(expected)


def test_precision_recall_with_unknown_entries() -> None:
    scores = torch.tensor([[4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    targets = torch.tensor([[-1, 1, 0, 1], [-1, -1, -1, 1]], dtype=torch.int8)
    # Image 1: labels 1 and 2 are asked, one hit; image 2: only label 3 is known, a hit.
    assert precision_recall_f1_at_k(scores, targets, 2) == pytest.approx((2 / 3, 2 / 3, 2 / 3))


def test_no_positive_at_all_gives_zeros() -> None:
    scores, targets = torch.randn(3, 4), torch.zeros(3, 4, dtype=torch.int8)
    assert precision_recall_f1_at_k(scores, targets, 2) == (0, 0, 0)


@pytest.mark.parametrize("k", [0, 7, -1])
def test_a_k_that_can_not_be_asked_is_refused(k: int) -> None:
    with pytest.raises(InputError, match=f"K is {k}, but there are 6 labels; choose a K from 1"):
        precision_recall_f1_at_k(*random_data(5, 6, seed=0), k)


@pytest.mark.parametrize("threshold", [0.5, 0.3, 0.9])
def test_figures_above_a_threshold_equal_scikit_learn(threshold: float) -> None:
    scores, targets = random_data(60, 7, seed=16)
    targets[:, 5] = 0
    scores[:, 6] = -9  # Never asked.
    asked = (scores.sigmoid() > threshold).numpy()
    options = {"zero_division": 0.0}
    overall = precision_recall_fscore_support(targets, asked, average="micro", **options)
    by_class = precision_recall_fscore_support(targets, asked, average="macro", **options)
    found = at_threshold(scores, targets, threshold)
    assert [found[name] for name in ("OP", "OR", "OF1")] == pytest.approx(overall[:3])
    assert [found[name] for name in ("CP", "CR")] == pytest.approx(by_class[:2])
    precision, recall = by_class[:2]
    assert found["CF1"] == pytest.approx(2 * precision * recall / (precision + recall))


def test_figures_above_a_threshold_leave_unknown_entries_out() -> None:
    scores = torch.tensor([[3.0, 3.0, -3.0], [3.0, -3.0, 3.0]])
    targets = torch.tensor([[1, -1, 1], [0, 1, -1]], dtype=torch.int8)
    found = at_threshold(scores, targets)
    assert found["OP"] == pytest.approx(1 / 2)
    assert found["OR"] == pytest.approx(1 / 3)
    assert found["CP"] == pytest.approx((1 / 2 + 0 + 0) / 3)
    assert found["CR"] == pytest.approx((1 + 0 + 0) / 3)


def test_a_threshold_is_a_probability() -> None:
    with pytest.raises(InputError, match=r"threshold is 1.0; expected between 0 and 1"):
        at_threshold(*random_data(5, 6, seed=0), 1.0)


@pytest.mark.parametrize("levels", [None, 1, 3])
def test_coverage_equals_scikit_learn(levels: int | None) -> None:
    scores, targets = random_data(80, 9, seed=17, levels=levels)
    targets[:10] = 0
    has_positive = (targets == 1).any(dim=1)
    expected = coverage_error(targets[has_positive], scores[has_positive])
    assert coverage(scores, targets) == pytest.approx(expected)
    targets[has_positive.nonzero()[0], scores[has_positive.nonzero()[0, 0]].argmax()] = -1
    depths = []
    for image, present in zip(scores.numpy(), targets.numpy(), strict=True):
        if (present == 1).any():
            worst = image[present == 1].min()
            depths.append(np.sum((image >= worst) & (present >= 0)))
    assert coverage(scores, targets) == pytest.approx(np.mean(depths))


def test_coverage_without_positives_is_0() -> None:
    assert coverage(torch.randn(3, 4), torch.zeros(3, 4, dtype=torch.int8)) == 0
