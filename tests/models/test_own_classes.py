"""A classifier of any label, mixed from those of a backbone's own classes."""

import numpy as np
import pytest
import torch

from zsl.errors import InputError
from zsl.models import OwnClassesConfig, OwnClassesHead


def make(temperature: float = 0.07) -> tuple[OwnClassesHead, torch.Tensor, torch.Tensor]:
    """Returns a head of six classes, their vectors (6, 5) and their weights (6, 8)."""
    vectors, weights = torch.randn(6, 5), torch.randn(6, 8)
    head = OwnClassesConfig(temperature).make(8, vectors)
    head.set_weights(weights)
    return head, vectors, weights


@pytest.mark.parametrize("num_labels", [1, 4])
def test_scores_are_those_of_the_definition(num_labels: int) -> None:
    head, vectors, weights = make(0.3)
    tokens, queries = torch.randn(3, 4, 8), torch.randn(num_labels, 5)
    v, q, x = vectors.numpy(), queries.numpy(), tokens.mean(dim=1).numpy()
    w = weights.numpy() - weights.numpy().mean(axis=0)
    w /= np.mean([np.linalg.norm(row) for row in w])
    expected = np.empty((3, num_labels))
    for label in range(num_labels):
        cosines = np.array(
            [row @ q[label] / np.linalg.norm(row) / np.linalg.norm(q[label]) for row in v]
        )
        shares = np.exp(cosines / 0.3) / np.exp(cosines / 0.3).sum()
        mixed = sum(share * row for share, row in zip(shares, w, strict=True))
        for image in range(3):
            deviation = np.std([row @ x[image] for row in w])
            expected[image, label] = x[image] @ mixed / np.linalg.norm(mixed) / deviation
    assert torch.allclose(head(tokens, queries), torch.from_numpy(expected).float(), atol=1e-5)
    for asked in (queries, head.prepare(queries)):
        assert torch.equal(head.answer(head.remember(tokens), asked), head(tokens, queries))


def test_a_class_itself_ranks_images_as_its_own_weights_do() -> None:
    head, vectors, _ = make(1e-3)
    tokens = torch.randn(4, 3, 8)
    x, w = tokens.mean(dim=1), head.weights
    expected = x @ w.T / w.norm(dim=1) / (x @ w.T).std(dim=1, correction=0, keepdim=True)
    assert torch.allclose(head(tokens, vectors), expected, atol=1e-4)


def test_a_blank_image_has_finite_scores() -> None:
    head, vectors, _ = make()
    assert head(torch.zeros(1, 3, 8), vectors).isfinite().all()


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(InputError, match="temperature"):
        OwnClassesConfig(0)
