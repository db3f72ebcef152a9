"""The same labels for every image, against loops over images and against what `evaluate` says."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.metrics.data import random_data
from zsl.metrics import Protocol, evaluate, most_frequent_figures, most_frequent_scores
from zsl.metrics.protocol import Images

NAN = float("nan")


def order_of(frequencies: list[float], means: list[float]) -> list[int]:
    scores = most_frequent_scores(torch.tensor(frequencies, dtype=torch.float64), Tensor(means))
    return scores.argsort(descending=True).tolist()


def naive_figures(order: list[int], targets: Tensor, columns: list[int], k: int) -> list[float]:
    """P, R and F1 of the first K known labels of each image."""
    hits = predicted = positives = 0
    for row in targets.tolist():
        chosen = [label for label in order if label in columns and row[label] >= 0][:k]
        hits += sum(row[label] == 1 for label in chosen)
        predicted += len(chosen)
        positives += sum(row[label] == 1 for label in columns)
    return [
        hits / max(1, predicted),
        hits / max(1, positives),
        2 * hits / max(1, predicted + positives),
    ]


@pytest.mark.parametrize("images", ["all_images", "labelled_images"])
@pytest.mark.parametrize("num_images", [40, 1])
def test_figures_are_those_of_a_loop_over_images(images: Images, num_images: int) -> None:
    """Frequencies tie, targets are unknown, a label is empty, and K is up to all labels."""
    _, targets = random_data(num_images, 9, seed=num_images)
    targets[::3, 2], targets[1::2, 0], targets[:, 4] = -1, -1, 0
    targets[-5:] = targets[-5:].clamp(max=0)
    groups = {"zsl": [6, 7, 8], "gzsl": list(range(9)), "all": [5, 2, 1, 3]}
    frequencies = [0.2, 0.5, 0.5, 0.1, 0.2, 0.2, NAN, NAN, NAN]
    means = [0.3, 0.1, 0.45, 0.2, 0.15, 0.35, 0.325, 0.9, 0.01]
    order = order_of(frequencies, means)
    # Not trained: above all trained labels, between two of them, and below all.
    assert order == [7, 2, 1, 6, 5, 0, 4, 3, 8]
    constant = most_frequent_scores(torch.tensor(frequencies, dtype=torch.float64), Tensor(means))
    protocol = Protocol(images)
    found = most_frequent_figures(constant, targets, groups, (1, 3, 9), protocol)
    for (name, columns), k in product(groups.items(), (1, 3, 9)):
        if k > len(columns):
            assert f"{name}/F1@{k}" not in found
            continue
        kept = targets[(targets[:, columns] == 1).any(1)] if images != "all_images" else targets
        expected = naive_figures(order, kept, columns, k)
        names = [f"{name}/{figure}@{k}" for figure in ("P", "R", "F1")]
        assert [found[name] for name in names] == pytest.approx(expected)
    # Rank by rank the same as a tagger with these scores; a constant score ranks no images.
    same = evaluate(constant.expand(num_images, -1), targets, groups, (1, 3, 9), protocol).figures
    assert found == pytest.approx({name: same[name] for name in found})
    assert {"zsl/mAP", "gzsl/mAP", "all/mAP", "all/OF1", "all/OF1@3"} <= set(found)
    assert not {"gzsl/OF1", "all/CF1", "all/CP", "all/coverage"} & set(found)


def test_a_label_that_was_not_trained_has_the_frequency_at_its_mean_score() -> None:
    # Sorted means .1 .2 .4 and frequencies .01 .3 .5: at .3, halfway between .3 and .5.
    assert order_of([0.5, 0.01, 0.3, NAN], [0.1, 0.4, 0.2, 0.3]) == [0, 3, 2, 1]
    assert order_of([0.39, 0.5, 0.01, NAN], [0.1, 0.4, 0.2, 0.3]) == [1, 3, 0, 2]
    # It does not depend on the scale of the scores.
    means = torch.rand(30, generator=torch.Generator().manual_seed(0))
    frequencies = torch.rand(30, generator=torch.Generator().manual_seed(1)).double()
    frequencies[20:] = NAN
    torch.testing.assert_close(
        most_frequent_scores(frequencies, means), most_frequent_scores(frequencies, means * 50 - 7)
    )


def test_without_frequencies_mean_scores_order_the_labels() -> None:
    assert order_of([NAN] * 4, [0.1, 0.4, 0.4, 0.3]) == [1, 2, 3, 0]
    assert order_of([NAN], [-3.0]) == [0]


def test_as_many_labels_are_above_the_threshold_as_are_best_by_the_frequencies() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        frequencies = random.random(7) ** 3
        ordered = np.sort(frequencies)[::-1]
        expected = [2 * ordered[:m].sum() / (m + ordered.sum()) for m in range(1, 8)]
        scores = most_frequent_scores(torch.from_numpy(frequencies), torch.zeros(7))
        assert (scores > 0).sum() == np.argmax(expected) + 1
        assert scores.argsort(descending=True).tolist() == (-frequencies).argsort().tolist()
        # In hindsight too it is the best where the images are those of the frequencies.
        targets = torch.from_numpy(random.random((4000, 7)) < frequencies).to(torch.int8)
        found = most_frequent_figures(scores, targets, {"all": list(range(7))})
        assert found["all/OF1"] == pytest.approx(max(expected), abs=0.02)


def test_one_label_an_image_has_the_accuracy_of_the_most_frequent_classes() -> None:
    classes = torch.tensor([0, 0, 1, 2, 2, 2, 2, 3, 5, 5])
    targets = torch.nn.functional.one_hot(classes, 6).to(torch.int8)
    frequencies = torch.tensor([0.3, 0.1, 0.3, 0.1, 0.1, 0.1], dtype=torch.float64)
    scores = most_frequent_scores(frequencies, Tensor([0, 0, 1, 0, 0, 1]))
    options: dict[str, Any] = {"groups": {"all": list(range(6))}, "single_label": True}
    found = most_frequent_figures(scores, targets, ks=(1, 2, 3, 6, 7), **options)
    # In order 2, 0, 5, 1, 3, 4.
    assert found == pytest.approx(
        {
            "all/mAP": 1 / 6,
            "all/Acc@1": 0.4,
            "all/Acc@2": 0.6,
            "all/Acc@3": 0.8,
            "all/Acc@6": 1.0,
        }
    )
    assert set(most_frequent_figures(scores, targets, **options)) == {
        *("all/mAP", "all/Acc@1", "all/Acc@5")
    }
