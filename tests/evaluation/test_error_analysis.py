import pytest
import torch
from torch import Tensor

from zsl.evaluation import error_analysis
from zsl.evaluation.error_analysis import examples, rank_correlation, shares_above


def random_data(seed: int, num_images: int = 30, num_labels: int = 9) -> tuple[Tensor, Tensor]:
    """Scores with ties and targets of all three kinds; the last label has no positive."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 6, (num_images, num_labels), generator=generator).float()
    targets = torch.randint(-1, 2, (num_images, num_labels), generator=generator)
    targets[:, -1].clamp_(max=0)
    return scores, targets.to(torch.int8)


def naive_shares(scores: Tensor, targets: Tensor, labels: list[int], others: list[int]) -> Tensor:
    result = torch.full((len(labels), len(others)), torch.nan, dtype=torch.float64)
    for row, label in enumerate(labels):
        images = [image for image in range(len(scores)) if targets[image, label] == 1]
        for column, other in enumerate(others):
            above = [
                image
                for image in images
                if targets[image, other] == 0 and scores[image, other] > scores[image, label]
            ]
            if images:
                result[row, column] = len(above) / len(images)
    return result


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("others", [[0, 1, 2, 3, 4], [3], []])
def test_shares_are_those_of_loops(
    seed: int, others: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(error_analysis, "_ENTRIES_AT_ONCE", 4)
    scores, targets = random_data(seed)
    labels = [6, 5, 8]
    shares = shares_above(scores, targets, labels, others)
    torch.testing.assert_close(
        shares, naive_shares(scores, targets, labels, others), equal_nan=True, rtol=0, atol=1e-12
    )
    assert shares[2].isnan().all()


def test_shares_of_a_single_image_and_of_no_unseen_label() -> None:
    scores, targets = torch.tensor([[2.0, 1.0, 1.0]]), torch.tensor([[0, 0, 1]], dtype=torch.int8)
    assert shares_above(scores, targets, [2], [0, 1]).tolist() == [[1.0, 0.0]]
    assert shares_above(scores, targets, [], [0, 1]).shape == (0, 2)


@pytest.mark.parametrize("seed", range(8))
def test_examples_are_those_of_loops(seed: int) -> None:
    scores, targets = (table[:, 0] for table in random_data(seed))
    known = [image for image in range(len(scores)) if targets[image] >= 0]
    best = sorted(known, key=lambda image: -scores[image].item())[:4]
    positives = [image for image in known if targets[image] == 1 and image not in best]
    lowest = sorted(positives, key=lambda image: (scores[image].item(), -image))[:2]
    chosen = examples(scores, targets, 4, 2)
    assert chosen.best == best
    assert list(chosen.missed) == lowest
    assert chosen.num_known == len(known)
    for image, rank in chosen.missed.items():
        assert rank == sum(scores[other] >= scores[image] for other in known)


def test_a_positive_among_the_best_is_not_missed() -> None:
    targets = torch.tensor([1, 0, 1], dtype=torch.int8)
    chosen = examples(torch.tensor([3.0, 2.0, 1.0]), targets, 2, 2)
    assert (chosen.best, chosen.missed) == ([0, 1], {2: 3})
    assert examples(torch.zeros(1), torch.ones(1, dtype=torch.int8), 4, 2).missed == {}


def test_rank_correlation() -> None:
    first = torch.tensor([1.0, 2.0, 3.0, 4.0, 9.0])
    assert rank_correlation(first, first.exp()) == pytest.approx(1)
    assert rank_correlation(first, -first) == pytest.approx(-1)
    assert rank_correlation(first[:4], first[:4]) is None
    assert rank_correlation(first, torch.zeros(5)) is None
