import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from tests.metrics.data import random_data
from zsl.metrics.decisions import (
    best_threshold,
    decision_figures,
    oracle_decisions,
    reliability,
)


def test_reliability_is_that_of_bins_of_equal_number() -> None:
    scores, targets = random_data(101, 3, 0)
    targets[::7, 1] = -1
    probabilities = scores.sigmoid()
    pairs = sorted(
        (probabilities[i, j].item(), int(targets[i, j] == 1))
        for i in range(101)
        for j in range(3)
        if targets[i, j] >= 0
    )
    bins = np.array_split(np.array(pairs), 4)
    expected = sum(len(b) * abs(b[:, 0].mean() - b[:, 1].mean()) for b in bins) / len(pairs)
    found = reliability(probabilities, targets, bins=4)
    assert found.error == pytest.approx(expected)
    assert found.numbers.tolist() == [len(own) for own in bins]


def test_perfect_probabilities_have_no_error_and_few_entries_few_bins() -> None:
    targets = torch.tensor([[1, 0]], dtype=torch.int8)
    assert reliability(targets.float(), targets).error == 0
    assert len(reliability(targets.float(), targets).numbers) == 2
    assert reliability(targets.float(), torch.full_like(targets, -1)).error == 0


def test_decisions_are_counted_as_scikit_learn_does() -> None:
    scores, targets = random_data(60, 5, 1)
    targets[:, 3] = 0
    yes = scores > 0.3
    figures = decision_figures(yes, targets)
    for average, name in (("micro", "F1"), ("macro", "macro_F1")):
        expected = f1_score(targets.numpy(), yes.numpy(), average=average, zero_division=0)
        assert figures[name] == pytest.approx(expected)
    targets[::3] = -1
    known = torch.ones(60, dtype=torch.bool)
    known[::3] = False
    assert decision_figures(yes, targets) == decision_figures(yes[known], targets[known])


@pytest.mark.parametrize("digits", [0, 6])
def test_the_best_threshold_is_the_best_of_all(digits: int) -> None:
    scores, targets = random_data(40, 3, 2)
    scores = (scores * 10**digits).round()  # With no digits many tie.
    targets[::5, 0] = -1

    def f1(threshold: float) -> float:
        return decision_figures(scores >= threshold, targets)["F1"]

    best = max(f1(threshold) for threshold in scores.unique().tolist())
    assert f1(best_threshold(scores, targets)) == pytest.approx(best)


def test_an_oracle_decides_label_by_label_and_never_where_none_is_present() -> None:
    scores, targets = random_data(40, 3, 3)
    targets[:, 1] = 0
    yes = oracle_decisions(scores, targets)
    assert not yes[:, 1].any()
    alone = scores[:, 2:] >= best_threshold(scores[:, 2:], targets[:, 2:])
    assert torch.equal(yes[:, 2:], alone)
