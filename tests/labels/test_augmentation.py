import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from zsl.errors import InputError
from zsl.labels import QueryAugmentation, QueryAugmentationConfig
from zsl.labels.query_addition import MixedQueries, NeighbourQueries, RandomQueries

EXACT = "donot_use_mm_for_euclid_dist"
QUERIES = 7 + 3 * torch.randn(200, 300)
TARGETS = torch.randint(-1, 2, (5, 200), dtype=torch.int8)


def augment(**arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return QueryAugmentation(**arguments).train()(QUERIES, TARGETS)


def rows_of(queries: torch.Tensor) -> torch.Tensor:
    """The label of each query."""
    distances = torch.cdist(queries, QUERIES, compute_mode=EXACT)
    assert (distances.min(1).values < 1e-3).all()
    return distances.argmin(1)


def test_noise_has_the_stated_scale() -> None:
    noisy, targets = augment(noise=0.3)
    noise = noisy - QUERIES
    torch.testing.assert_close(noise.std(), 0.3 * QUERIES.std(), rtol=0.02, atol=0)
    torch.testing.assert_close(noise.mean(), torch.tensor(0.0), rtol=0, atol=0.02)
    assert torch.equal(targets, TARGETS)


def test_directional_noise_turns_by_the_stated_angle() -> None:
    turned, targets = augment(rotation=0.5)
    torch.testing.assert_close(turned.norm(dim=1), QUERIES.norm(dim=1))
    angles = F.cosine_similarity(turned, QUERIES, dim=1).clamp(max=1).acos()
    assert angles.mean().item() == pytest.approx(0.5 * math.sqrt(2 / math.pi), rel=0.15)
    assert angles.square().mean().sqrt().item() == pytest.approx(0.5, rel=0.15)
    assert torch.equal(targets, TARGETS)


def test_dropout_leaves_labels_out_with_their_targets() -> None:
    queries, targets = augment(dropout=0.3)
    assert queries.shape == (140, 300)
    asked = rows_of(queries)
    assert len(asked.unique()) == 140
    assert torch.equal(targets, TARGETS[:, asked])
    one, _ = augment(dropout=0.999)
    assert one.shape == (1, 300)


@pytest.mark.parametrize(("target", "degree"), [("absent", 0), ("uncertain", 0.5), ("present", 1)])
def test_random_queries_have_the_statistics_of_the_vectors(target: Any, degree: float) -> None:
    queries, targets = augment(additions=[RandomQueries(5000, target)])
    assert torch.equal(queries[:200], QUERIES)
    assert torch.equal(targets[:, :200], TARGETS.float())
    assert (targets[:, 200:] == degree).all()
    torch.testing.assert_close(queries[200:].mean(0), QUERIES.mean(0), rtol=0, atol=0.25)
    torch.testing.assert_close(queries[200:].std(0), QUERIES.std(0), rtol=0.1, atol=0)


@pytest.mark.parametrize("num_labels", [2, 3])
def test_mixtures_have_the_mixture_of_the_targets(num_labels: int) -> None:
    queries, targets = augment(additions=[MixedQueries(40, num_labels=num_labels)])
    for query, degrees in zip(queries[200:], targets[:, 200:].T, strict=True):
        # The shares that make this vector of all labels, by least squares.
        shares = torch.linalg.lstsq(QUERIES.double().T, query.double()[:, None]).solution[:, 0]
        mixed = (shares > 1e-6).nonzero().flatten()
        assert len(mixed) == num_labels
        assert shares[mixed].sum().item() == pytest.approx(1)
        for image, degree in enumerate(degrees.tolist()):
            known = TARGETS[image, mixed]
            expected = -1 if (known < 0).any() else float(shares[mixed] @ known.double())
            assert degree == pytest.approx(expected, abs=1e-5)


def test_mixtures_can_be_taught_another_target() -> None:
    mixed = MixedQueries(6, "uncertain", num_labels=3)
    neighbours = NeighbourQueries(4, "present")
    _, targets = augment(additions=[mixed, neighbours])
    assert (targets[:, 200:206] == 0.5).all()
    assert (targets[:, 206:] == 1).all()


def test_shares_of_mixtures_are_uniform_on_the_simplex() -> None:
    torch.manual_seed(0)
    part = MixedQueries(4000, num_labels=3)
    basis, targets = torch.eye(3), torch.zeros(1, 3)
    shares, _ = part(basis, targets, 1.0)
    # Each share of a uniform point on the triangle has the distribution function 1 - (1 - x)².
    for level in (0.1, 0.3, 0.6):
        below = (shares < level).float().mean(0)
        torch.testing.assert_close(below, torch.full((3,), 1 - (1 - level) ** 2), rtol=0, atol=0.03)


def test_neighbours_lie_between_a_label_and_one_of_its_nearest() -> None:
    queries, targets = augment(additions=[NeighbourQueries(30, num_nearest=4)])
    directions = F.normalize(QUERIES, dim=1)
    nearest = (directions @ directions.T).fill_diagonal_(-2).topk(4).indices
    for query, degrees in zip(queries[200:], targets[:, 200:].T, strict=True):
        shares = torch.linalg.lstsq(QUERIES.double().T, query.double()[:, None]).solution[:, 0]
        first, second = shares.topk(2).indices.tolist()
        assert shares[first] >= 0.5 - 1e-6
        assert shares[[first, second]].sum().item() == pytest.approx(1)
        assert second in nearest[first].tolist() or shares[second] < 1e-3
        known = TARGETS[:, [first, second]]
        expected = (known * shares[[first, second]]).sum(1)
        expected[(known < 0).any(1)] = -1
        torch.testing.assert_close(degrees.double(), expected, rtol=0, atol=1e-4)


def test_strengths_rise_along_the_ramp() -> None:
    augmentation = QueryAugmentation(
        dropout=0.5, additions=[RandomQueries(20, "absent")], noise=0.3, ramp=0.5
    ).train()
    for progress, num_labels, num_added, noise in [
        (0.0, 200, 0, 0.0),
        (0.25, 150, 10, 0.15),
        (0.5, 100, 20, 0.3),
        (1.0, 100, 20, 0.3),
    ]:
        augmentation.progress = progress
        queries, targets = augmentation(QUERIES, TARGETS)
        assert len(queries) == targets.shape[1] == num_labels + num_added
        distance = torch.cdist(queries[:num_labels], QUERIES, compute_mode=EXACT).min(1).values
        expected = noise * QUERIES.std() * math.sqrt(300)
        torch.testing.assert_close(distance.mean(), expected, rtol=0.02, atol=1e-2)


def test_strength_zero_and_evaluation_change_nothing() -> None:
    queries, targets = augment(additions=[RandomQueries(0, "absent"), MixedQueries(0)])
    assert torch.equal(queries, QUERIES)
    assert torch.equal(targets, TARGETS)
    assert targets.dtype == torch.int8
    augmentation = QueryAugmentation(
        dropout=0.5, additions=[MixedQueries(3)], noise=0.5, rotation=0.5
    ).eval()
    queries, targets = augmentation(QUERIES, TARGETS)
    assert queries is QUERIES
    assert targets is TARGETS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise": -1.0}, "augmentation.noise is -1.0; expected 0 or more"),
        ({"rotation": -1.0}, "augmentation.rotation is -1.0; expected 0 or more"),
        ({"dropout": 1.0}, "augmentation.dropout is 1.0; expected 0 to below 1"),
        ({"random": -1}, "augmentation.random is -1; expected 0 or more"),
        ({"ramp": 2.0}, "augmentation.ramp is 2.0; expected 0 to 1"),
        ({"labels_per_mixture": 1}, "augmentation.labels_per_mixture is 1; expected 2 or more"),
    ],
)
def test_strengths_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        QueryAugmentationConfig(**changes)


def test_a_config_makes_the_augmentation_it_describes() -> None:
    config = QueryAugmentationConfig(0.1, 0.2, 0.3, 4, "present", 5, 3, 6, "uncertain", 0.5)
    made: Any = config.make(200)
    assert [part.strength for part in made.noise] == [0.1, 0.2]
    assert made.dropout.rate == 0.3
    assert [(part.number, part.target) for part in made.additions] == [
        (4, "present"),
        (5, "uncertain"),
        (6, "uncertain"),
    ]
    assert made.additions[1].num_labels == 3
    assert made.ramp == 0.5
    assert config.changed == ["noise", "rotation", "dropout", "random", "mixed", "neighbours"]
    assert QueryAugmentationConfig().changed == []
    with pytest.raises(InputError, match="mixed is 5; it needs 3 seen labels or more, and 2 are"):
        config.make(2)
