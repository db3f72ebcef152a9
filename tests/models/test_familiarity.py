import pytest
import torch

from zsl.models import FamiliarImages


def tokens(num_images: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(1, 1, 16, generator=torch.Generator().manual_seed(99))
    drawn = torch.randn(num_images, 4, 16, generator=generator)
    return centre + 0.5 * drawn + shift * torch.arange(16)


def kept(num_images: int) -> FamiliarImages:
    familiar = FamiliarImages(16)
    familiar.keep(familiar.describe(tokens(num_images, 0)))
    return familiar


def test_images_of_the_same_kind_are_familiar_and_others_are_not() -> None:
    familiar = kept(1000)
    assert familiar.number == 256
    own, other = (tokens(500, 1, shift) for shift in (0.0, 3.0))
    assert familiar.is_unlike(own).float().mean() < 0.03
    assert abs(familiar(own).median() - 0.5) < 0.1  # p-values are spread evenly.
    assert familiar.is_unlike(other).all()


@pytest.mark.parametrize("number", [9, 30, 49, 50])
def test_few_images_tell_as_well(number: int) -> None:
    """One in a hundred is taken for unlike, not one in ten, as the farthest of nine would tell."""
    familiar = kept(number)
    assert familiar.is_unlike(tokens(500, 1)).float().mean() < 0.03
    assert familiar.is_unlike(tokens(500, 1, shift=5.0)).all()


def test_tokens_that_differ_more_within_an_image_are_not_familiar() -> None:
    familiar, asked = kept(256), tokens(100, 4)
    mean = asked.mean(dim=1, keepdim=True)
    assert not familiar.is_unlike(asked).any()
    assert familiar.is_unlike(mean + 3 * (asked - mean)).all()


def test_the_share_is_that_of_the_distances() -> None:
    familiar, asked = kept(9), tokens(5, 2)
    means = familiar.images[:9].float()
    for row, found in zip(asked, familiar(asked), strict=True):

        def distance(one: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
            return 1 - torch.cosine_similarity(one[None], others).max()

        own = distance(torch.cat([row.mean(0), row.std(0, correction=0)]), means)
        rest = [distance(means[i], means[torch.arange(9) != i]) for i in range(9)]
        assert found == (1 + sum(value >= own for value in rest)) / 10


def test_too_few_images_tell_nothing() -> None:
    for number in (0, 1):
        familiar = kept(number) if number else FamiliarImages(16)
        asked = tokens(3, 3, 5.0)
        assert familiar(asked).tolist() == [1, 1, 1]
        assert not familiar.is_unlike(asked).any()
    assert not FamiliarImages(16).load_state_dict({}).missing_keys
