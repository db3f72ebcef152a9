import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from tests.metrics.data import published, random_data
from zsl.metrics import average_precision
from zsl.metrics.average_precision import Ties, rank_positives


@pytest.mark.parametrize("levels", [None, 1, 3])
@pytest.mark.parametrize(("num_images", "num_labels"), [(50, 7), (200, 65), (2, 3), (1, 1)])
def test_average_precision_equals_scikit_learn(
    num_images: int, num_labels: int, levels: int | None
) -> None:
    scores, targets = random_data(num_images, num_labels, seed=1, levels=levels)
    targets[0] = 1
    expected = [
        average_precision_score(targets[:, label], scores[:, label]) for label in range(num_labels)
    ]
    np.testing.assert_allclose(average_precision(scores, targets), expected, atol=1e-12)


def test_average_precision_of_a_label_without_positive_is_nan() -> None:
    scores, targets = random_data(20, 4, seed=2)
    targets[:, 2] = 0
    assert average_precision(scores, targets).isnan().tolist() == [False, False, True, False]


@pytest.mark.parametrize("share", [0.4, 0.95])
def test_unknown_entries_are_left_out_of_average_precision(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zsl.metrics.known_targets._IMAGES_AT_ONCE", 30)
    scores, targets = random_data(80, 6, seed=3, levels=2)
    unknown = torch.rand(80, 6, generator=torch.Generator().manual_seed(4)) < share
    unknown[0] = False
    targets[0] = 1
    expected = [
        average_precision_score(targets[known, label], scores[known, label])
        for label, known in enumerate((~unknown).T)
    ]
    targets[unknown] = -1
    np.testing.assert_allclose(average_precision(scores, targets), expected, atol=1e-12)


@pytest.mark.parametrize("levels", [None, 1, 3])
@pytest.mark.parametrize(("num_images", "num_labels"), [(50, 7), (200, 33), (2, 3), (1, 1)])
def test_sorted_ties_are_those_of_the_published_code(
    num_images: int, num_labels: int, levels: int | None
) -> None:
    scores, targets = random_data(num_images, num_labels, seed=12, levels=levels)
    targets[0] = 1
    labels = zip(scores.numpy().T, targets.numpy().T, strict=True)
    expected = [published(*label) for label in labels]
    found = average_precision(scores, targets, ties="sorted")
    np.testing.assert_allclose(found, expected, atol=1e-12)
    if levels is None:  # Without ties there is one AP.
        np.testing.assert_allclose(found, average_precision(scores, targets), atol=1e-12)


@pytest.mark.parametrize("every", [4, 11])
def test_sorted_ties_leave_unknown_entries_out(every: int) -> None:
    """With all but every 11th unknown, the known ones are picked out first."""
    scores, targets = random_data(60, 3, seed=13, levels=1)
    targets[0, :2] = 1
    unknown = torch.arange(60) % every == 0
    targets[unknown if every == 4 else ~unknown] = -1
    targets[:, 2] = targets[:, 2].clamp(max=0)
    found = average_precision(scores, targets, ties="sorted")
    known = targets[:, 0] >= 0
    for label in (0, 1):
        expected = published(scores[known, label].numpy(), targets[known, label].numpy())
        assert found[label].item() == pytest.approx(expected, abs=1e-12)
    assert found[2].isnan()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_average_precision_takes_any_floating_dtype(dtype: torch.dtype) -> None:
    scores, targets = random_data(70, 4, seed=14)
    scores = scores.to(dtype)
    expected = average_precision(scores.double(), targets)
    torch.testing.assert_close(average_precision(scores, targets), expected)
    gap = torch.tensor([[1.0], [1.0 + 1e-12]], dtype=torch.float64)  # Equal as float32.
    present = torch.tensor([[0], [1]], dtype=torch.int8)
    assert average_precision(gap, present).item() == 1


@pytest.mark.parametrize("ties", ["averaged", "sorted"])
def test_ranked_positives_count_what_stands_above(ties: Ties) -> None:
    scores, targets = random_data(40, 1, seed=15, levels=2)
    targets[::5] = -1
    ranked = rank_positives(scores[:, 0].numpy(), targets[:, 0].numpy(), ties)
    known = targets[:, 0] >= 0
    assert sorted(ranked.ranking.tolist()) == known.nonzero().flatten().tolist()
    for depth, hits in zip(ranked.depths, ranked.hits, strict=True):
        above = ranked.ranking[:depth]
        assert (targets[above, 0] == 1).sum() == hits
        if ties == "averaged":
            threshold = scores[above[-1], 0]
            assert depth == ((scores[:, 0] >= threshold) & known).sum()
    assert ranked.hits[-1] == (targets == 1).sum() == len(ranked.positives)
