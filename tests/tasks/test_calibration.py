import pytest
import torch

from zsl.models import Calibration, Goal
from zsl.models.calibration import LEVELS
from zsl.tasks.calibration import fit_calibration

NUM_SEEN, NUM_HELD_OUT = 8, 4


def validation(
    num_images: int = 2000, seed: int = 0, rarity: float = 2.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, targets and mean logits; true log-odds are half the logits of seen labels, less 1."""
    generator = torch.Generator().manual_seed(seed)
    num_labels = NUM_SEEN + NUM_HELD_OUT
    means = torch.randn(num_labels, generator=generator) - rarity
    scores = means + 3 * torch.randn(num_images, num_labels, generator=generator)
    is_seen = torch.arange(num_labels) < NUM_SEEN
    log_odds = torch.where(is_seen, 0.5 * scores - 1, 0.2 * scores - 0.5)
    present = torch.rand(num_images, num_labels, generator=generator) < log_odds.sigmoid()
    return scores, present.to(torch.int8), means


def test_seen_labels_get_their_true_log_odds() -> None:
    calibration = Calibration(NUM_SEEN)
    assert fit_calibration(calibration, *validation(), None)
    scale, of_mean, constant = calibration.weights[0].tolist()
    assert scale == pytest.approx(0.5, abs=0.03)
    assert of_mean == pytest.approx(0, abs=0.1)
    assert constant == pytest.approx(-1, abs=0.2)
    # Others are between both kinds of labels.
    assert 0.2 < calibration.weights[1, 0] < 0.5


def test_a_label_that_differs_from_the_others_has_an_offset() -> None:
    scores, targets, means = validation()
    scores[:, 3] += 2
    calibration = Calibration(NUM_SEEN)
    fit_calibration(calibration, scores, targets, means, None)
    assert calibration.offsets.argmin() == 3
    others = calibration.offsets[torch.arange(NUM_SEEN) != 3]
    assert calibration.offsets[3] < others.min() - 0.4


def test_decisions_on_validation_images_are_counted_at_each_level() -> None:
    scores, targets, means = validation(300, seed=1)
    targets[::4, ::2] = -1
    calibration = Calibration(NUM_SEEN)
    fit_calibration(calibration, scores, targets, means, None)
    positions = torch.tensor([*range(NUM_SEEN), *[-1] * NUM_HELD_OUT])
    scale, shift = calibration.log_odds(means, positions)
    probabilities = (scores * scale + shift).sigmoid()
    for row, columns in enumerate((slice(NUM_SEEN), slice(NUM_SEEN, None))):
        p, y = probabilities[:, columns], targets[:, columns]
        for index in (20, 50, 70):
            yes = (p >= LEVELS[index]) & (y >= 0)
            hits = float((yes & (y == 1)).sum())
            # Rounding may move an entry across a level.
            assert calibration.precision[row, index] == pytest.approx(
                hits / float(yes.sum() + 1), abs=0.01
            )
            assert calibration.recall[row, index] == pytest.approx(
                hits / float((y == 1).sum()), abs=0.01
            )


def test_the_thresholds_reach_a_precision_on_other_images() -> None:
    calibration = Calibration(NUM_SEEN)
    fit_calibration(calibration, *validation(), None)
    scores, targets, means = validation(seed=2)
    means = validation()[2]
    positions = torch.arange(NUM_SEEN)
    scale, shift = calibration.log_odds(means[:NUM_SEEN], positions)
    probabilities = (scores[:, :NUM_SEEN] * scale + shift).sigmoid()
    thresholds = calibration.thresholds(None, positions, Goal(0.7))
    yes = probabilities >= thresholds
    assert (targets[:, :NUM_SEEN][yes] == 1).float().mean() == pytest.approx(0.7, abs=0.05)


def test_without_held_out_labels_all_are_taken_for_seen_ones() -> None:
    scores, targets, means = validation(400)
    calibration = Calibration(NUM_SEEN)
    columns = slice(NUM_SEEN)
    assert fit_calibration(
        calibration, scores[:, columns], targets[:, columns], means[columns], None
    )
    assert torch.equal(calibration.weights[0], calibration.weights[1])
    targets[:, NUM_SEEN:] = 0
    other = Calibration(NUM_SEEN)
    assert fit_calibration(other, scores, targets, means, None)
    assert torch.equal(other.weights, calibration.weights)


@pytest.mark.parametrize("value", [-1, 0, 1])
def test_nothing_to_fit_on_leaves_it_unfitted(value: int) -> None:
    scores, targets, means = validation(50)
    targets[:] = value
    calibration = Calibration(NUM_SEEN)
    assert not fit_calibration(calibration, scores, targets, means, None)
    assert not calibration.is_fitted


def test_labels_that_score_lower_where_they_are_present_leave_it_unfitted() -> None:
    scores, targets, means = validation(200)
    calibration = Calibration(NUM_SEEN)
    assert not fit_calibration(calibration, -scores, targets, means, None)
    assert not calibration.is_fitted


def test_more_images_than_are_needed_are_drawn_from() -> None:
    scores, targets, means = validation(6000)
    calibration = Calibration(NUM_SEEN)
    vectors = torch.eye(NUM_SEEN) + 0.1
    assert fit_calibration(calibration, scores, targets, means, vectors)
    assert calibration.weights[0, 0] == pytest.approx(0.5, abs=0.03)
    assert calibration.least_similarity > 0
