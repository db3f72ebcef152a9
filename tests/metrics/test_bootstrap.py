import numpy as np
import pytest
import torch

from tests.metrics.data import random_data
from zsl.errors import InputError
from zsl.metrics import Protocol, average_precision, evaluate
from zsl.metrics.bootstrap import Bootstrap, interval
from zsl.metrics.protocol import Average, Empty, Images

GROUPS = {"zsl": [4, 5, 6], "gzsl": list(range(7)), "seen": [0, 1, 2, 3], "all": list(range(7))}


@pytest.mark.parametrize("images", ["all_images", "labelled_images"])
@pytest.mark.parametrize(
    ("empty", "average"),
    [("zero", "macro"), ("skip", "macro"), ("two_sided", "macro"), ("two_sided", "weighted")],
)
@pytest.mark.parametrize("levels", [None, 2])
def test_replicates_are_those_of_the_drawn_images(
    images: Images, empty: Empty, average: Average, levels: int | None
) -> None:
    protocol = Protocol(images, empty, average=average)
    scores, targets = random_data(40, 7, seed=20, levels=levels)
    scores += torch.arange(7) / 100  # No ties between the labels of an image.
    targets[:, 3] = 0
    targets[1:, 5] = 0  # Not drawn in many replicates.
    targets[::6, 1] = -1
    targets[:, 2] = 1
    targets[7, 2] = 0  # The only negative, not drawn in many replicates.
    scores[:, 6] = -1  # Never predicted.
    targets[30:] = targets[30:].clamp(max=0)
    bootstrap = Bootstrap(40, num_replicates=25, seed=3)
    found = bootstrap.figures(scores, targets, GROUPS, ks=(1, 3), protocol=protocol)
    for replicate, counts in enumerate(bootstrap.counts.long().T):
        drawn = torch.repeat_interleave(torch.arange(40), counts)
        assert len(drawn) == 40
        expected = evaluate(scores[drawn], targets[drawn], GROUPS, (1, 3), protocol).logged("test")
        for name, values in found.items():
            assert values[replicate].item() == pytest.approx(expected[f"test/{name}"], abs=1e-6)
    assert {"zsl/mAP", "gzsl/F1@3", "seen/P@1", "harmonic_mAP"} <= set(found)
    assert {"all/mAP", "all/CF1", "all/OF1", "all/CF1@3", "all/OF1@3"} <= set(found)
    assert "gzsl/CF1" not in found


@pytest.mark.parametrize("levels", [None, 2])
def test_replicates_of_one_label_an_image(levels: int | None) -> None:
    scores, _ = random_data(30, 6, seed=25, levels=levels)
    classes = torch.randint(6, (30,), generator=torch.Generator().manual_seed(2))
    targets = torch.nn.functional.one_hot(classes, 6).to(torch.int8)
    bootstrap, groups = Bootstrap(30, num_replicates=15, seed=4), {"all": list(range(6))}
    found = bootstrap.figures(scores, targets, groups, single_label=True)
    assert set(found) == {"all/mAP", "all/Acc@1", "all/Acc@5"}
    for replicate, counts in enumerate(bootstrap.counts.long().T):
        drawn = torch.repeat_interleave(torch.arange(30), counts)
        expected = evaluate(scores[drawn], targets[drawn], groups, single_label=True).figures
        for name, values in found.items():
            assert values[replicate].item() == pytest.approx(expected[name], abs=1e-6)


def test_nothing_predicted_and_nothing_present_have_replicates() -> None:
    scores, targets = torch.full((9, 4), -1.0), torch.zeros(9, 4, dtype=torch.int8)
    for images in ("all_images", "labelled_images"):
        protocol = Protocol(images)
        found = Bootstrap(9, 3).figures(scores, targets, {"all": [0, 1, 2, 3]}, protocol=protocol)
        assert {value for values in found.values() for value in values.tolist()} == {0.0}


def test_sorted_ties_are_those_of_the_published_code_where_nothing_is_drawn_twice() -> None:
    scores, targets = random_data(50, 7, seed=21, levels=2)
    bootstrap = Bootstrap(50, 2)
    bootstrap.counts = torch.ones(50, 2)
    protocol = Protocol(ties="sorted")
    found = bootstrap.figures(scores, targets, GROUPS, protocol=protocol)
    expected = evaluate(scores, targets, GROUPS, protocol=protocol)
    assert found["gzsl/mAP"].tolist() == pytest.approx(
        [expected.groups["gzsl"].metrics["mAP"]] * 2, abs=1e-6
    )


def test_the_seed_makes_the_draws() -> None:
    first, again, other = (Bootstrap(30, 8, seed).counts for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.sum(dim=0).tolist() == [30] * 8


def test_an_image_alone_has_no_spread() -> None:
    scores, targets = torch.randn(1, 7), torch.ones(1, 7, dtype=torch.int8)
    figures = Bootstrap(1, 5).figures(scores, targets, GROUPS)
    assert figures["zsl/mAP"].tolist() == [1] * 5
    assert interval(figures["zsl/mAP"], 1.0) == (1, 1)


def test_interval_is_centred_on_the_figure() -> None:
    values = torch.randn(400, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    centred = values.numpy() - values.numpy().mean()
    for estimate in (0.0, 0.3, -100.0):
        expected = np.quantile(centred, [0.05, 0.95]) + estimate
        assert interval(values, estimate, 0.9) == pytest.approx(expected)


def test_intervals_hold_the_mean_over_tests_of_their_size() -> None:
    """Rare labels and weak scores: plain percentiles would lie above it in most cases."""
    random = np.random.default_rng(0)

    def sample() -> tuple[torch.Tensor, torch.Tensor]:
        present = random.random((300, 80)) < 0.03
        scores = random.normal(size=(300, 80)) + present
        return torch.from_numpy(scores), torch.from_numpy(present.astype(np.int8))

    mean = np.mean([average_precision(*sample()).nan_to_num(0).mean() for _ in range(100)])
    held = plain = 0
    for seed in range(40):
        scores, targets = sample()
        ap = Bootstrap(300, 100, seed).ap(scores, targets, Protocol())
        replicates = Protocol().mean(ap)
        estimate = Protocol().mean(average_precision(scores, targets)).item()
        low, high = interval(replicates, estimate)
        held += int(low <= mean <= high)
        low, high = np.quantile(replicates.numpy(), [0.025, 0.975])
        plain += int(low <= mean <= high)
    assert 36 <= held <= 40
    assert plain + 8 < held


def test_interval_of_unbiased_replicates_is_the_plain_one() -> None:
    values = torch.linspace(0, 1, 1001, dtype=torch.float64)
    assert interval(values, 0.5) == pytest.approx((0.025, 0.975), abs=1e-3)


def test_no_replicates_are_refused() -> None:
    with pytest.raises(InputError, match="There are 0 replicates; expected 1 or more"):
        Bootstrap(5, 0)
