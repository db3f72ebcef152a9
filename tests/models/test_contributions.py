"""What tokens contribute to a label's logit: how much in all, how much each, and where."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.fakes.parts import OwnHead
from zsl.models import (
    BilinearHead,
    CLIPHead,
    ClosedFormConfig,
    ConSEHead,
    Fast0TagHead,
    FixedMLDecoder,
    GroupedWordMLDecoder,
    NormalisedScores,
    OnMeanToken,
    ScoresConfig,
    TaggerNetwork,
    WordMLDecoder,
    contributions,
    group_labels,
)

OPTIONS: dict[str, Any] = {"embed_dim": 16, "num_heads": 4, "feedforward_dim": 24}
TOKENS, DIM, WIDTH = 9, 10, 6

HEADS: dict[str, Callable[[Tensor], nn.Module]] = {
    "full decoding": lambda seen: WordMLDecoder(DIM, WIDTH, **OPTIONS),
    "groups": lambda seen: GroupedWordMLDecoder(DIM, group_labels(seen, 3), **OPTIONS),
    "pooled tokens": lambda seen: OnMeanToken(WordMLDecoder(DIM, WIDTH, **OPTIONS)),
    "Fast0Tag": lambda seen: Fast0TagHead(DIM, WIDTH, hidden_dim=16, dropout=0.1),
    "ConSE": lambda seen: ConSEHead(DIM, seen, num_combined=3),
    "one's own": lambda seen: OwnHead(DIM, WIDTH, rank=4),
}


def make_network(
    head: nn.Module, seen: Tensor, temperature: float, local_tokens: int = 2
) -> TaggerNetwork:
    """A head beside a closed form, with scores that are normalised by random images."""
    closed_form = ClosedFormConfig(local_tokens).make(DIM, seen)
    nn.init.normal_(closed_form.map)
    nn.init.normal_(closed_form.mean)
    scores = NormalisedScores(
        ScoresConfig(16, temperature), (TOKENS, DIM), seen, 1 + closed_form.config.num_scores
    )
    nn.init.normal_(scores.sample)
    scores.weights.uniform_(0.5, 2)
    return TaggerNetwork(nn.Identity(), head, seen, scores, closed_form).eval()


def with_mean_tokens(tokens: Tensor, positions: slice) -> Tensor:
    changed = tokens.clone()
    changed[:, positions] = tokens.mean(dim=1, keepdim=True)
    return changed


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("is_normalised", [False, True])
def test_they_add_up_to_what_sets_the_image_apart_from_its_mean(
    name: str, is_normalised: bool
) -> None:
    torch.manual_seed(0)
    tokens, seen, vectors = (
        torch.randn(3, TOKENS, DIM),
        torch.randn(8, WIDTH),
        torch.randn(5, WIDTH),
    )
    head = HEADS[name](seen)
    network = TaggerNetwork(nn.Identity(), head, seen).eval()
    if is_normalised:
        network = make_network(head, seen, temperature=0.5)
    with torch.no_grad():
        prepared = network.prepare(vectors)
        found = contributions(network, tokens, prepared)
        at_mean = network.score(with_mean_tokens(tokens, slice(None)), prepared)
        expected = network.score(tokens, prepared) - at_mean
    assert found.shape == (3, 5, TOKENS)
    torch.testing.assert_close(found.sum(dim=2), expected, rtol=0.02, atol=0.06)
    assert found.std() > 1e-3


@pytest.mark.parametrize("is_normalised", [False, True])
def test_where_scores_are_sums_over_tokens_they_are_exact(is_normalised: bool) -> None:
    torch.manual_seed(1)
    tokens, seen = torch.randn(3, TOKENS, DIM), torch.randn(8, WIDTH)
    network = TaggerNetwork(nn.Identity(), BilinearHead(DIM, WIDTH), seen).eval()
    if is_normalised:  # Without best tokens and without competition, it all is linear.
        network = make_network(network.head, seen, temperature=0, local_tokens=0)
    with torch.no_grad():
        prepared = network.prepare(seen)
        found = contributions(network, tokens, prepared)
        for position in range(TOKENS):
            without = with_mean_tokens(tokens, slice(position, position + 1))
            expected = network.score(tokens, prepared) - network.score(without, prepared)
            torch.testing.assert_close(found[:, :, position], expected, rtol=1e-3, atol=1e-4)


def test_of_the_closed_form_the_best_tokens_contribute_their_own_scores() -> None:
    torch.manual_seed(2)
    (tokens, seen) = (torch.randn(2, TOKENS, DIM), torch.randn(8, WIDTH))
    head = ClosedFormConfig(local_tokens=2).make(DIM, seen)
    nn.init.normal_(head.map)
    found = contributions(TaggerNetwork(nn.Identity(), head, seen).eval(), tokens, seen)
    for image, own in zip(tokens, found, strict=True):
        for vector, row in zip(seen, own, strict=True):
            scores = (image - image.mean(dim=0)) @ head.map @ vector / vector.norm()
            expected = scores / TOKENS
            best = sorted(range(TOKENS), key=lambda position: float(scores[position]))[-2:]
            expected[best] += scores[best] / 2
            torch.testing.assert_close(row, expected, rtol=1e-3, atol=1e-4)


def test_fixed_classes_have_their_own() -> None:
    torch.manual_seed(3)
    tokens, classes = torch.randn(2, TOKENS, DIM), torch.tensor([6, 0])
    network = TaggerNetwork(nn.Identity(), FixedMLDecoder(DIM, 7, 3, **OPTIONS)).eval()
    found = contributions(network, tokens, classes)
    at_mean = network.score(with_mean_tokens(tokens, slice(None)), classes)
    expected = network.score(tokens, classes) - at_mean
    torch.testing.assert_close(found.sum(dim=2), expected, rtol=0.02, atol=0.02)


def test_of_a_tower_the_parts_contribute_and_the_image_vector_stays() -> None:
    torch.manual_seed(4)
    backbone: Any = nn.Identity()
    backbone.num_prefix_tokens = 1
    tokens, vectors = torch.randn(2, 1 + TOKENS, WIDTH), torch.randn(5, WIDTH)
    network = TaggerNetwork(backbone, CLIPHead(local=0.5, top_k=3), vectors).eval()
    found = contributions(network, tokens, vectors)
    assert found.shape == (2, 5, TOKENS)
    at_mean = tokens.clone()
    at_mean[:, 1:] = tokens[:, 1:].mean(dim=1, keepdim=True)
    expected = network.score(tokens, vectors) - network.score(at_mean, vectors)
    torch.testing.assert_close(found.sum(dim=2), expected, rtol=0.05, atol=0.5)


def scenes(number: int, patterns: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Noisy tokens, among which stand patterns (L, DIM) of some labels, each in one position.

    Returns:
        Tokens (number, TOKENS, DIM); the position of each label, -1 if it is absent.
    """
    tokens = 0.3 * torch.randn(number, TOKENS, patterns.shape[1])
    positions = torch.full((number, len(patterns)), -1)
    for scene in range(number):
        labels = torch.randperm(len(patterns))[: int(torch.randint(1, most + 1, ()))]
        positions[scene, labels] = torch.randperm(TOKENS)[: len(labels)]
        tokens[scene, positions[scene, labels]] += patterns[labels]
    return tokens, positions


@pytest.mark.parametrize("num_groups", [None, 2])
def test_the_map_of_a_label_peaks_where_it_stands(num_groups: int | None) -> None:
    """And not where another label of its group does."""
    torch.manual_seed(5)
    vectors, patterns = torch.randn(8, WIDTH), torch.randn(8, DIM)
    head: Any = WordMLDecoder(DIM, WIDTH, dropout=0, **OPTIONS)
    if num_groups is not None:
        head = GroupedWordMLDecoder(DIM, group_labels(vectors, num_groups), dropout=0, **OPTIONS)
    network = TaggerNetwork(nn.Identity(), head, vectors)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    for _ in range(300):
        tokens, positions = scenes(32, patterns, most=3)
        loss = nn.functional.binary_cross_entropy_with_logits(
            head(tokens, vectors), (positions >= 0).float()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    tokens, positions = scenes(40, patterns, most=3)
    is_present = positions >= 0
    maps = contributions(network.eval(), tokens, vectors)
    hits = (maps.argmax(dim=2) == positions)[is_present].float().mean()
    looks = (head.attention(tokens, vectors).argmax(dim=2) == positions)[is_present].float().mean()
    assert hits > 0.9
    assert num_groups is None or hits > looks + 0.1


@pytest.mark.parametrize("begins_with_seen", [False, True])
def test_selected_labels_are_those_that_were_prepared(begins_with_seen: bool) -> None:
    torch.manual_seed(6)
    tokens, seen, others = torch.randn(3, TOKENS, DIM), torch.randn(8, WIDTH), torch.randn(5, WIDTH)
    queries = torch.cat([seen, others]) if begins_with_seen else others
    head = GroupedWordMLDecoder(DIM, group_labels(seen, 3), **OPTIONS)
    network = make_network(head, seen, temperature=0.5)
    columns = torch.tensor([4, 1])
    with torch.no_grad():
        prepared = network.prepare(queries)
        selected = network.select(prepared, queries, columns)
        expected = network.score(tokens, prepared)[:, columns]
        torch.testing.assert_close(network.score(tokens, selected), expected)
        again = network.select(selected, queries[columns], torch.tensor([1]))
        torch.testing.assert_close(network.score(tokens, again), expected[:, 1:])
