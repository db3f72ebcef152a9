import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from zsl.errors import InputError
from zsl.models import group_labels, grouping
from zsl.models.grouping import GroupedVectors, nearest_group


@pytest.mark.parametrize("most", [40, 20])
def test_clusters_of_directions_are_found_at_any_length(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grouping, "_MOST_CLUSTERED", most)
    monkeypatch.setattr(grouping, "_CLUSTERED_PER_GROUP", 1)
    torch.manual_seed(0)
    centres = torch.eye(4, 12)
    owner = torch.arange(40) % 4
    vectors = (centres[owner] + 0.05 * torch.randn(40, 12)) * torch.rand(40, 1).add(0.5) * 30
    queries = group_labels(vectors.requires_grad_(), 4)
    vectors = vectors.detach()
    assert queries.shape == (4, 12)
    groups = nearest_group(vectors, queries)
    for cluster in range(4):
        members = owner == cluster
        assert len(groups[members].unique()) == 1
        torch.testing.assert_close(queries[groups[members][0]], vectors[members].mean(0))
    assert torch.equal(group_labels(vectors, 4), queries)


def test_nearest_group_is_the_best_cosine() -> None:
    vectors, queries = torch.randn(30, 5), torch.randn(7, 5) * torch.rand(7, 1) * 9
    cosines = F.cosine_similarity(vectors[:, None], queries[None], dim=2)
    assert torch.equal(nearest_group(vectors, queries), cosines.argmax(1))


@pytest.mark.parametrize(
    "groups",
    [
        [0],
        [2] * 100,
        [0] * 32 + [1] * 33 + [3],
        [4] * 31 + [0] * 64,
        np.random.default_rng(0).integers(0, 5, 517).tolist(),
        np.random.default_rng(1).geometric(0.5, 300).clip(1, 5).tolist(),
    ],
)
def test_each_label_meets_the_output_of_its_group(groups: list[int]) -> None:
    num_groups = 6
    vectors = torch.randn(len(groups), 8).double().requires_grad_()
    outputs = torch.randn(3, num_groups, 8).double().requires_grad_()
    products = GroupedVectors.arrange(vectors, torch.tensor(groups), num_groups).dot(outputs)
    expected = torch.stack(
        [
            (outputs[:, group] * vector).sum(1)
            for vector, group in zip(vectors, groups, strict=True)
        ],
        dim=1,
    )
    torch.testing.assert_close(products, expected)
    weights = torch.randn_like(products)

    def gradients(values: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad((values * weights).sum(), [vectors, outputs])

    torch.testing.assert_close(gradients(products), gradients(expected))


def test_blocks_waste_at_most_one_block_a_group() -> None:
    groups = torch.randint(0, 50, (5000,))
    blocks = GroupedVectors.arrange(torch.randn(5000, 4), groups, 50).vectors
    assert blocks.shape[0] * blocks.shape[1] <= 5000 + 50 * blocks.shape[1]


def test_impossible_groups_are_refused() -> None:
    vectors = torch.randn(6, 4)
    with pytest.raises(InputError, match="7 groups can't be made of 6 labels; choose from 1 to 6"):
        group_labels(vectors, 7)
    with pytest.raises(InputError, match="0 groups can't be made of 6 labels"):
        group_labels(vectors, 0)
    with pytest.raises(
        InputError, match="6 groups can't be made of 5 different label vectors; choose"
    ):
        group_labels(torch.cat([vectors[:5], 2 * vectors[:1]]), 6)
    with pytest.raises(InputError, match=r"shape \(4,\); expected two dimensions"):
        group_labels(vectors[0], 1)
    vectors[3, 1] = float("nan")
    with pytest.raises(InputError, match="label vector 3 is not finite"):
        group_labels(vectors, 2)
    assert group_labels(vectors[:1], 1).shape == (1, 4)
