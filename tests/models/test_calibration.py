from typing import Any

import pytest
import torch
import torch.nn.functional as F

from zsl.errors import InputError
from zsl.models import Calibration, Goal
from zsl.models.calibration import (
    LEVELS,
    expected_f1_threshold,
    expected_precision_threshold,
)
from zsl.models.seen_labels import most_similar_seen, seen_positions


def probabilities(num_images: int, num_labels: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(num_images, num_labels, generator=generator) - 2).sigmoid()


def test_the_expected_f1_is_highest_at_its_threshold() -> None:
    sample = probabilities(50, 4)
    found = expected_f1_threshold(sample)

    def expected_f1(label: int, threshold: float) -> float:
        own = sample[:, label]
        yes = own >= threshold
        return float(2 * own[yes].sum() / (yes.sum() + own.sum()))

    for label in range(4):
        best = max(expected_f1(label, t) for t in sample[:, label].tolist())
        assert expected_f1(label, found[label].item()) == pytest.approx(best)
        # Half the best F1: Lipton et al., arXiv 1402.1892.
        assert found[label].item() == pytest.approx(best / 2, abs=0.1)


def test_probabilities_above_the_threshold_have_the_precision_on_average() -> None:
    sample = probabilities(50, 6, 1)
    sample[:, 5] *= 0.1
    found = expected_precision_threshold(sample, 0.7)
    for own, threshold in zip(sample.T[:5], found[:5], strict=True):
        assert own[own >= threshold].mean() >= 0.7
        lower = own[own < threshold].max()
        assert own[own >= lower].mean() < 0.7 or threshold == pytest.approx(0.7)
    assert found[5] == pytest.approx(0.7)
    assert (found <= 0.7 + 1e-6).all()


def test_one_image_is_enough() -> None:
    assert expected_f1_threshold(torch.tensor([[0.3]])).tolist() == pytest.approx([0.3])
    assert expected_precision_threshold(torch.tensor([[0.3]]), 0.9).tolist() == pytest.approx([0.9])


def calibration() -> Calibration:
    made = Calibration(2)
    made.weights.copy_(torch.tensor([[2.0, 0.0, 1.0], [1.0, 0.5, -1.0]]))
    made.offsets.copy_(torch.tensor([0.5, -0.5]))
    made.precision.copy_(torch.stack([LEVELS, LEVELS * 0.8]))
    made.recall.copy_(1 - LEVELS.expand(2, -1))
    return made


def test_log_odds_are_those_of_the_kind_of_label() -> None:
    scale, shift = calibration().log_odds(torch.tensor([4.0, 4.0, -2.0]), torch.tensor([1, 0, -1]))
    assert scale.tolist() == [2, 2, 1]
    assert shift.tolist() == [0.5, 1.5, -2]


def test_thresholds_join_what_validation_and_what_the_labels_own_scores_say() -> None:
    made, positions, sample = calibration(), torch.tensor([0, -1]), probabilities(30, 2, 2)
    alone = made.thresholds(None, positions, Goal())
    # Precision p and recall 1 - p are best at 1/2.
    assert alone[0].item() == pytest.approx(0.5)
    both = made.thresholds(sample, positions, Goal())
    assert torch.allclose(both, (alone * expected_f1_threshold(sample)).sqrt())
    precise = made.thresholds(None, positions, Goal(0.7))
    assert precise.tolist() == pytest.approx([0.7, 0.875], abs=0.03)
    assert (made.thresholds(sample, positions, Goal(0.7)) >= precise).all()


def test_a_goal_out_of_reach_is_never_reached() -> None:
    assert calibration().thresholds(None, torch.tensor([-1]), Goal(0.9)).item() > 1


def test_an_earlier_state_without_calibration_leaves_it_unfitted() -> None:
    made = Calibration(3)
    made.load_state_dict({})
    assert not made.is_fitted
    assert calibration().is_fitted


@pytest.mark.parametrize("text", ["f2", "precision", "precision=1", "precision=x", "f1=0.5", ""])
def test_other_goals_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected f1, or precision= and a number between 0 and 1"):
        Goal.parse(text)


def test_a_goal_that_is_a_number_is_refused() -> None:
    number: Any = 0.9
    with pytest.raises(InputError, match=r"The goal of decisions is 0\.9; expected f1, or prec"):
        Goal.parse(number)


def test_goals_are_read_as_they_are_written() -> None:
    for text in ("f1", "precision=0.9"):
        assert str(Goal.parse(text)) == text


def test_labels_are_compared_with_the_other_seen_ones() -> None:
    vectors = torch.randn(6, 5, generator=torch.Generator().manual_seed(3))
    seen = vectors[:4]
    asked = torch.cat([vectors[5:], seen[2:3], vectors[4:5]])
    assert seen_positions(asked, seen).tolist() == [-1, 2, -1]
    similarity, nearest = most_similar_seen(asked, seen)
    cosines = F.cosine_similarity(asked[:, None], seen[None], dim=2)
    cosines[1, 2] = -1
    assert torch.allclose(similarity, cosines.max(1).values, atol=1e-6)
    assert torch.equal(nearest, cosines.argmax(1))
    alone = most_similar_seen(seen[:1], seen[:1])
    assert [part.item() for part in alone] == [-1, -1]
