import itertools

import numpy as np
import pytest
import timm.utils
import torch
from sklearn.metrics import (
    coverage_error,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)
from torch import Tensor

from tests.metrics.data import random_data
from zsl.errors import InputError
from zsl.metrics import accuracy_at_k, at_threshold, coverage, precision_recall_f1_at_k
from zsl.metrics.per_image import Counts, threshold_figures
from zsl.metrics.protocol import label_counts


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


def naive_top_k(scores: Tensor, targets: Tensor, k: int) -> list[float]:
    """ML-GCN's top-K figures, one image after the other: of K labels those above 0.5 count."""
    num_labels = scores.shape[1]
    predicted, hits, positives = ([0] * num_labels for _ in range(3))
    for row, truth in zip(scores.tolist(), targets.tolist(), strict=True):
        known = [label for label in range(num_labels) if truth[label] >= 0]
        for label in sorted(known, key=lambda label: -row[label])[:k]:
            if row[label] > 0:
                predicted[label] += 1
                hits[label] += truth[label]
        for label in known:
            positives[label] += truth[label]
    overall = sum(hits) / sum(predicted), sum(hits) / sum(positives)
    by_label = [
        sum(hit / max(total, 1) for hit, total in zip(hits, totals, strict=True)) / num_labels
        for totals in (predicted, positives)
    ]
    harmonic = [2 * p * r / (p + r) for p, r in (overall, by_label)]
    return [*overall, harmonic[0], *by_label, harmonic[1]]


@pytest.mark.parametrize("k", [1, 3, 8])
def test_figures_above_a_threshold_of_the_k_best_labels_equal_a_naive_loop(k: int) -> None:
    scores, targets = random_data(60, 8, seed=18)
    scores -= 0.3  # Some images have fewer than K labels above the threshold, some have more.
    targets[:, 5] = 0  # Never present.
    scores[:, 6] = -9  # Never predicted.
    targets[::5, 2] = -1
    targets[7] = -1
    targets[7, 3] = 1  # Fewer labels are known than K.
    found = at_threshold(scores, targets, k=k)
    assert list(found) == [f"{name}@{k}" for name in ("OP", "OR", "OF1", "CP", "CR", "CF1")]
    assert list(found.values()) == pytest.approx(naive_top_k(scores, targets, k))
    if k == 8:
        assert list(found.values()) == list(at_threshold(scores, targets).values())


def test_nothing_above_the_threshold_gives_zeros() -> None:
    scores, targets = torch.full((5, 4), -1.0), torch.ones(5, 4, dtype=torch.int8)
    assert set(at_threshold(scores, targets, k=3).values()) == {0.0}
    with pytest.raises(InputError, match="K is 5, but there are 4 labels"):
        at_threshold(scores, targets, k=5)


@pytest.mark.parametrize("k", [1, 3, 5, 9])
def test_accuracy_is_that_of_scikit_learn_and_timm(k: int) -> None:
    scores, _ = random_data(70, 9, seed=22)
    classes = torch.randint(9, (70,), generator=torch.Generator().manual_seed(1))
    targets = torch.nn.functional.one_hot(classes, 9).to(torch.int8)
    found = accuracy_at_k(scores, targets, k)
    if k < 9:  # It warns of a K that is the number of classes.
        expected = top_k_accuracy_score(classes, scores, k=k, labels=range(9))
        assert found == pytest.approx(expected)
    (percent,) = timm.utils.accuracy(scores, classes, topk=(k,))
    assert found == pytest.approx(percent.item() / 100)


def test_labels_of_equal_score_count_as_in_random_order() -> None:
    scores, _ = random_data(6, 5, seed=23, levels=1)
    classes = [0, 1, 2, 3, 4, 0]
    targets = torch.nn.functional.one_hot(torch.tensor(classes), 5).to(torch.int8)
    for k in (1, 2, 4):
        found = []
        for order in itertools.permutations(range(5)):
            for row, own in zip((-scores).tolist(), classes, strict=True):
                found.append(own in sorted(order, key=row.__getitem__)[:k])
        assert 0 < np.mean(found) < 1
        assert accuracy_at_k(scores, targets, k) == pytest.approx(np.mean(found))
        assert accuracy_at_k(torch.zeros(6, 5), targets, k) == pytest.approx(k / 5)


def test_accuracy_leaves_unknown_labels_out_of_the_ranking() -> None:
    scores = torch.tensor([[3.0, 2.0, 1.0]])
    assert accuracy_at_k(scores, torch.tensor([[0, 1, 0]], dtype=torch.int8), 1) == 0
    assert accuracy_at_k(scores, torch.tensor([[-1, 1, 0]], dtype=torch.int8), 1) == 1


def test_accuracy_needs_one_label_an_image() -> None:
    scores = torch.randn(2, 3)
    for row, number in (([1, 0, 1], 2), ([0, 0, 0], 0)):
        targets = torch.tensor([[1, 0, 0], row], dtype=torch.int8)
        with pytest.raises(InputError, match=f"An image has {number} labels, but accuracy is of"):
            accuracy_at_k(scores, targets, 1)
    with pytest.raises(InputError, match="K is 4, but there are 3 labels"):
        accuracy_at_k(scores, torch.eye(3, dtype=torch.int8)[:2], 4)
    assert accuracy_at_k(scores[:0], torch.zeros(0, 3, dtype=torch.int8), 1) == 0


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


@pytest.mark.parametrize("share", [0.0, 0.04, 0.6])
def test_figures_of_few_known_labels_equal_a_naive_loop(share: float) -> None:
    scores, targets = random_data(50, 64, seed=3)
    unknown = torch.rand(50, 64, generator=torch.Generator().manual_seed(4)) >= share
    targets[unknown] = -1
    hits_at_3 = predicted_at_3 = depth = 0
    above = np.zeros((2, 3, 64), int)  # Without and with K = 3: hits, predicted, positives.
    for own_scores, own_targets in zip(scores.numpy(), targets.numpy(), strict=True):
        known = [label for label in range(64) if own_targets[label] >= 0]
        best = sorted(known, key=lambda label: -own_scores[label])
        present = [label for label in best if own_targets[label] == 1]
        hits_at_3 += len(set(best[:3]) & set(present))
        predicted_at_3 += len(best[:3])
        depth += max((best.index(label) + 1 for label in present), default=0)
        for counts, candidates in zip(above, (best, best[:3]), strict=True):
            predicted = [label for label in candidates if own_scores[label] > 0]
            np.add.at(counts[0], list(set(predicted) & set(present)), 1)
            np.add.at(counts[1], predicted, 1)
            np.add.at(counts[2], present, 1)
    positives = int(above[0, 2].sum())
    at_3 = (hits_at_3 / max(1, predicted_at_3), hits_at_3 / max(1, positives))
    assert precision_recall_f1_at_k(scores, targets, 3)[:2] == at_3
    num_images = int((targets == 1).any(dim=1).sum())
    assert coverage(scores, targets) == depth / max(1, num_images)
    for counts, k in zip(above, (None, 3), strict=True):
        expected = threshold_figures(Counts(*map(torch.from_numpy, counts)), k)
        assert at_threshold(scores, targets, k=k) == {n: v.item() for n, v in expected.items()}
    assert label_counts(targets)[0].tolist() == above[0, 2].tolist()
    assert label_counts(targets)[1].tolist() == (targets == 0).sum(dim=0).tolist()
