import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from zsl.errors import InputError
from zsl.metrics import (
    Predictions,
    average_precision,
    chance_level,
    evaluate,
    precision_recall_f1_at_k,
    prevalence,
)


def random_data(
    num_images: int, num_labels: int, seed: int, levels: int | None = None
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(num_images, num_labels, generator=generator)
    if levels:
        scores = (scores * levels).round() / levels
    targets = (torch.rand(num_images, num_labels, generator=generator) < 0.3).to(torch.int8)
    return scores, targets


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


def test_unknown_entries_are_left_out_of_average_precision() -> None:
    scores, targets = random_data(80, 6, seed=3, levels=2)
    unknown = torch.rand(80, 6, generator=torch.Generator().manual_seed(4)) < 0.4
    expected = [
        average_precision_score(targets[known, label], scores[known, label])
        for label, known in enumerate((~unknown).T)
    ]
    targets[unknown] = -1
    np.testing.assert_allclose(average_precision(scores, targets), expected, atol=1e-12)


def test_constant_scores_have_the_prevalence_as_average_precision() -> None:
    _, targets = random_data(60, 5, seed=5)
    ap = average_precision(torch.zeros(60, 5), targets)
    torch.testing.assert_close(ap, targets.double().mean(dim=0))
    assert chance_level(targets)["mAP"] == pytest.approx(ap.mean().item())


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


def test_prevalence_counts_known_images_only() -> None:
    targets = torch.tensor([[1, -1, -1], [0, 1, -1]], dtype=torch.int8)
    assert prevalence(targets).tolist() == [0.5, 1.0, 0.0]


def test_no_positive_at_all_gives_zeros() -> None:
    scores, targets = torch.randn(3, 4), torch.zeros(3, 4, dtype=torch.int8)
    assert precision_recall_f1_at_k(scores, targets, 2) == (0, 0, 0)


def test_chance_level_is_what_random_scores_reach() -> None:
    generator = torch.Generator().manual_seed(7)
    _, targets = random_data(4000, 8, seed=8)
    expected = chance_level(targets, ks=(3,))
    scores = torch.rand(4000, 8, generator=generator)
    reached = precision_recall_f1_at_k(scores, targets, 3)
    assert reached == pytest.approx([expected[f"{name}@3"] for name in ("P", "R", "F1")], abs=0.01)
    ap = average_precision(scores, targets).mean().item()
    assert ap == pytest.approx(expected["mAP"], abs=0.02)


def test_evaluate_groups_labels_and_names_results() -> None:
    scores, targets = random_data(50, 6, seed=9)
    targets[:, 5] = 0
    groups = {"zsl": [4, 5], "gzsl": list(range(6)), "seen": [0, 1, 2, 3]}
    evaluation = evaluate(scores, targets, groups)
    ap = average_precision(scores, targets)
    logged = evaluation.logged("test")
    assert logged["test/seen/mAP"] == pytest.approx(ap[:4].mean().item())
    assert logged["test/zsl/mAP"] == pytest.approx(ap[4].item() / 2)
    assert logged["test/gzsl/F1@3"] == precision_recall_f1_at_k(scores, targets, 3)[2]
    zsl, seen = logged["test/zsl/mAP"], logged["test/seen/mAP"]
    assert logged["test/harmonic_mAP"] == pytest.approx(2 * zsl * seen / (zsl + seen))
    assert evaluation.groups["zsl"].num_empty == 1
    assert evaluation.groups["zsl"].num_labels == 2
    # K = 3 asks more labels than there are unseen ones.
    assert "test/zsl/F1@3" not in logged
    assert "F1@3" not in evaluation.groups["zsl"].chance
    assert "test/seen/F1@5" not in logged


def test_scores_that_are_no_numbers_are_refused() -> None:
    scores, targets = random_data(5, 3, seed=10)
    scores[2, 1] = torch.nan
    with pytest.raises(InputError, match="training diverged"):
        evaluate(scores, targets, {"zsl": [0], "seen": [1], "gzsl": [0, 1, 2]})


def test_predictions_drop_repeated_images_and_keep_the_order() -> None:
    predictions = Predictions()
    scores, targets = random_data(6, 4, seed=11)
    for batch in ([1, 3, 5], [0, 2, 4], [5, 0]):
        index = torch.tensor(batch)
        predictions.update(index, scores[index].bfloat16(), targets[index])
    found_index, found_scores, found_targets = predictions.compute()
    assert found_index == [0, 1, 2, 3, 4, 5]
    assert found_scores.dtype == torch.float32
    torch.testing.assert_close(found_scores, scores.bfloat16().float())
    assert torch.equal(found_targets, targets)


def test_predictions_of_one_image_keep_their_shape() -> None:
    predictions = Predictions()
    predictions.update(torch.tensor([7]), torch.randn(1, 3), torch.zeros(1, 3, dtype=torch.int8))
    index, scores, targets = predictions.compute()
    assert index == [7]
    assert scores.shape == targets.shape == (1, 3)
