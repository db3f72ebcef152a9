"""Normalised scores, as a network makes them, against loops over images and labels."""

import math
import statistics
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.fakes.parts import OwnHeadConfig, randomise, tiny_backbone, tiny_head
from zsl.errors import InputError
from zsl.models import ClosedFormConfig, ScoresConfig, TaggerNetwork

SEEN = 3
Rows = list[list[float]]


def make(
    temperature: float = 0.5, sample: int = 6, beside: bool = True, head: Any = None
) -> tuple[TaggerNetwork, Tensor]:
    """A network in which all that is learnt without a step is random, and 7 label vectors."""
    torch.manual_seed(0)
    vectors = torch.randn(7, 12)
    network = TaggerNetwork.make(
        tiny_backbone(),
        head or tiny_head(),
        32,
        vectors[:5],
        SEEN,
        ScoresConfig(sample, temperature),
        ClosedFormConfig(local_tokens=2) if beside else None,
    ).eval()
    randomise(network)
    scores, closed_form = network.scores, network.closed_form
    assert scores is not None
    tokens = network.backbone(torch.rand(sample, 3, 32, 32))
    scores.sample.copy_(tokens + 0.3 * torch.randn_like(tokens))
    scores.seen_log_odds.copy_(torch.tensor([-3.0, -1.0, -2.0]))
    scores.log_odds_map.normal_()
    scores.weights.copy_(torch.tensor([0.4, 0.7, 1.0])[: len(scores.weights)])
    if closed_form is not None:
        closed_form.get_buffer("map").normal_()
        closed_form.get_buffer("covariance").copy_(torch.randn(12, 20).cov(correction=0))
    return network, vectors


def standardised(rows: Rows, sample: Rows, spread: list[float]) -> Rows:
    """Rows are images, columns labels."""
    columns = list(zip(*sample, strict=True))
    means = [sum(column) / len(column) for column in columns]
    stds = [
        factor * math.sqrt(sum((v - mean) ** 2 for v in column) / (len(column) - 1))
        for mean, column, factor in zip(means, columns, spread, strict=True)
    ]
    return [
        [(v - mean) / std for v, mean, std in zip(row, means, stds, strict=True)] for row in rows
    ]


def competed(rows: Rows, temperature: float) -> Rows:
    if not temperature:
        return rows
    sums = [math.log(sum(math.exp(temperature * v) for v in row[:SEEN])) for row in rows]
    return [[temperature * v - s for v in row] for row, s in zip(rows, sums, strict=True)]


def separate(network: TaggerNetwork, tokens: Tensor, vectors: Tensor) -> list[Rows]:
    """The scores of each scorer, image by image."""
    rows = []
    for token in tokens.float():
        found = [network.head(token[None], vectors)]
        if network.closed_form is not None:
            found += network.closed_form.separate(token[None], vectors)
        rows.append([part[0].tolist() for part in found])
    return [list(part) for part in zip(*rows, strict=True)]


def spreads(network: TaggerNetwork, sample: Rows, vectors: Tensor) -> list[float]:
    """Of each label, its deviation over all images by that over the sample."""
    if network.closed_form is None:
        return [1.0] * len(vectors)
    covariance = network.closed_form.get_buffer("covariance")
    units = [vector / vector.norm() for vector in vectors]
    whole = [float((unit @ covariance @ unit).sqrt()) for unit in units]
    columns = list(zip(*sample, strict=True))
    return [of_all / statistics.stdev(own) for of_all, own in zip(whole, columns, strict=True)]


def expected_logits(
    network: TaggerNetwork, tokens: Tensor, vectors: Tensor, temperature: float
) -> Tensor:
    """Logits of labels of which the seen ones come first, by the definition."""
    scores = network.scores
    assert scores is not None
    own, sample = (separate(network, part, vectors) for part in (tokens, scores.sample))
    spread = spreads(network, sample[-1], vectors)
    mixed, mixed_sample = ([[0.0] * len(vectors) for _ in part[0]] for part in (own, sample))
    for weight, rows, sample_rows in zip(scores.weights.tolist(), own, sample, strict=True):
        for part, total in ((rows, mixed), (sample_rows, mixed_sample)):
            for i, row in enumerate(standardised(part, sample_rows, spread)):
                total[i] = [a + weight * b for a, b in zip(total[i], row, strict=True)]
    final, final_sample = (
        competed(standardised(part, mixed_sample, spread), temperature)
        for part in (mixed, mixed_sample)
    )
    *weights, bias = scores.log_odds_map.tolist()
    odds = scores.seen_log_odds.tolist()
    for vector in vectors[SEEN:].tolist():
        length = math.hypot(*vector)
        odds.append(sum(w * v / length for w, v in zip(weights, vector, strict=True)) + bias)
    logits = standardised(final, final_sample, [1.0] * len(vectors))
    return torch.tensor(logits) - 0.5 + torch.tensor(odds)


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("temperature", [0.5, 2.0, 0.0])
@torch.no_grad()
def test_logits_are_those_of_the_definition(temperature: float, beside: bool) -> None:
    network, vectors = make(temperature, beside=beside)
    images = torch.rand(4, 3, 32, 32)
    tokens = network.backbone(images)
    expected = expected_logits(network, tokens, vectors, temperature)
    torch.testing.assert_close(network(images, vectors), expected, rtol=1e-3, atol=1e-3)
    one = network(images[:1], vectors)
    torch.testing.assert_close(one, expected[:1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("head", [tiny_head(), tiny_head(num_groups=2), OwnHeadConfig(4)])
@torch.no_grad()
def test_a_logit_depends_on_no_other_label_that_is_queried(head: Any) -> None:
    network, vectors = make(head=head)
    tokens = network.backbone(torch.rand(4, 3, 32, 32))
    whole = network.score(tokens, vectors)
    for labels in ([6], [4, 2], [6, 5, 4, 3, 2, 1, 0], [0, 1, 2], [2, 1, 0, 5], [5, 5]):
        found = network.score(tokens, vectors[labels])
        torch.testing.assert_close(found, whole[:, labels], rtol=1e-4, atol=1e-4)
        prepared = network.prepare(vectors[labels])
        assert torch.equal(network.score(tokens, prepared), found)
    torch.testing.assert_close(network.score(tokens), whole[:, :5], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_seen_label_has_its_measured_log_odds_wherever_it_is_queried() -> None:
    network, vectors = make()
    assert network.scores is not None
    *weights, bias = network.scores.log_odds_map
    near = vectors[1] + 1e-3
    found = network.scores.log_odds(torch.stack([vectors[6], vectors[1], near, vectors[1]]))
    assert found[1] == found[3] == -1
    for row, vector in ((0, vectors[6]), (2, near)):
        expected = torch.nn.functional.normalize(vector, dim=0) @ torch.stack(weights) + bias
        torch.testing.assert_close(found[row], expected)


@torch.no_grad()
def test_in_training_the_head_is_alone() -> None:
    network, vectors = make(head=tiny_head(dropout=0.0))
    tokens = network.backbone(torch.rand(4, 3, 32, 32))
    expected = network.head(tokens, vectors)
    torch.testing.assert_close(network.train().score(tokens, vectors), expected)


@pytest.mark.parametrize("temperature", [0.5, 0.0])
@torch.no_grad()
def test_scores_that_are_all_alike_stay_finite(temperature: float) -> None:
    network, vectors = make(temperature)
    network.get_buffer("scores.sample").zero_()
    assert network(torch.rand(3, 3, 32, 32), vectors).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision_is_near(dtype: torch.dtype) -> None:
    network, vectors = make(sample=40)
    images = torch.rand(4, 3, 32, 32)
    expected = network(images, vectors)
    found = network.to(dtype)(images, vectors.to(dtype))
    assert found.isfinite().all()
    torch.testing.assert_close(found.float(), expected, rtol=0.2, atol=0.2)


def test_to_make_a_network_changes_no_statistics_of_its_backbone() -> None:
    def made(scores: ScoresConfig | None) -> TaggerNetwork:
        torch.manual_seed(0)
        return TaggerNetwork.make(tiny_backbone(), tiny_head(), 32, torch.randn(5, 12), 3, scores)

    plain, other = made(None), made(ScoresConfig(4))
    assert other.backbone.training
    for name, value in plain.backbone.state_dict().items():
        assert torch.equal(other.backbone.state_dict()[name], value), name


def test_numbers_out_of_range_are_refused() -> None:
    for arguments, message in (
        ((1,), "scores.sample is 1; expected 2 or more"),
        ((2, -1.0), "scores.temperature is -1.0; expected 0 or more"),
    ):
        with pytest.raises(InputError, match=message):
            ScoresConfig(*arguments)
    with pytest.raises(InputError, match=r"closed_form\.local_tokens is -1; expected 0 or more"):
        ClosedFormConfig(local_tokens=-1)
    with pytest.raises(InputError, match="no common scale; set scores too"):
        TaggerNetwork.make(
            tiny_backbone(), tiny_head(), 32, torch.randn(5, 12), 3, None, ClosedFormConfig()
        )
