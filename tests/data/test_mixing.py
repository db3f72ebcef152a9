import pytest
import torch
from torch import Tensor

from zsl.data.mixing import MixingConfig
from zsl.errors import InputError

SIDE = 16


def batch(size: int = 6, num_labels: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images of one colour each, all different, and random targets."""
    generator = torch.Generator().manual_seed(seed)
    colours = torch.arange(size) * 255 // size
    images = colours.to(torch.uint8)[:, None, None, None].expand(size, 3, SIDE, SIDE)
    return images, torch.randint(-1, 2, (size, num_labels), generator=generator).to(torch.int8)


def partner_and_weight(image: int, mixed: Tensor) -> tuple[int, float]:
    """The image that one was mixed with and its own weight, by the mean colours of two batches.

    The second one has the colours squared, so that two equations tell two unknowns.
    """
    size = len(mixed)
    colours = (torch.arange(size) * 255 // size).double() / 255
    own = colours[image], colours[image] ** 2
    for other in set(range(size)) - {image}:
        weight = (mixed[image, 0] - colours[other]) / (own[0] - colours[other])
        expected = weight * own[1] + (1 - weight) * colours[other] ** 2
        if -1e-6 < weight < 1 + 1e-6 and (expected - mixed[image, 1]).abs() < 1e-5:
            return other, weight.item()
    raise AssertionError(f"Image {image} is a mixture of no two.")


@pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0.0), (0.0, 1.0), (0.1, 1.0)])
def test_images_and_targets_are_blended_alike(mixup: float, cutmix: float) -> None:
    images, targets = batch()
    pixels = images / 255
    pixels[:, 1] **= 2
    partners: set[tuple[int, int]] = set()
    for seed in range(12):
        torch.manual_seed(seed)
        mixed, blended = MixingConfig(mixup, cutmix)(pixels, targets)
        assert mixed.dtype == blended.dtype == torch.float32
        assert mixed.shape == pixels.shape
        means = mixed.double().mean(dim=(2, 3))
        for image in range(6):
            other, weight = partner_and_weight(image, means)
            if weight > 0.99:  # Its partner can't be told.
                continue
            partners.add((image, other))
            own, others = targets[image].float(), targets[other].float()
            expected = weight * own + (1 - weight) * others
            expected[(own < 0) | (others < 0)] = -1
            torch.testing.assert_close(blended[image], expected, atol=1e-4, rtol=0)
    assert len(partners) > 6  # Not always the neighbour.


def test_mixup_blends_whole_images_and_cutmix_pastes_a_rectangle() -> None:
    images, targets = batch()
    torch.manual_seed(1)
    blended, _ = MixingConfig(mixup=1.0)(images, targets)
    assert (blended == blended[:, :, :1, :1]).all()
    pasted, _ = MixingConfig(cutmix=1.0)(images, targets)
    changed = ~pasted.isclose(images / 255).all(dim=1)
    assert torch.equal(pasted[changed.unsqueeze(1).expand_as(pasted)].unique(), pasted.unique())
    first = changed[0]
    assert 0 < first.sum() < SIDE * SIDE
    rows, columns = first.any(dim=1), first.any(dim=0)
    assert torch.equal(first, rows[:, None] & columns[None])
    assert torch.equal(changed, first.expand_as(changed))


def test_both_are_chosen_about_equally_often() -> None:
    images, targets = batch()
    torch.manual_seed(0)
    mixed = [MixingConfig(0.5, 0.5)(images, targets)[0] for _ in range(60)]
    num_mixup = sum(bool((own == own[:, :, :1, :1]).all()) for own in mixed)
    assert 15 < num_mixup < 45


def test_the_seed_of_torch_makes_the_draws() -> None:
    images, targets = batch()
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        results.append(MixingConfig(0.4, 1.0)(images, targets)[0])
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_the_distribution_of_the_weight_is_beta() -> None:
    """λ of Beta(α, α) has the variance 1 / (4 (2 α + 1)): a small α leaves images almost alone."""
    images, targets = torch.stack([torch.zeros(3, 4, 4), torch.ones(3, 4, 4)]), batch(2)[1]
    torch.manual_seed(0)
    for alpha in (0.1, 1.0):
        config = MixingConfig(mixup=alpha)
        weights = torch.stack([config(images, targets)[0][0, 0, 0, 0] for _ in range(400)])
        assert weights.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.15)


def test_one_label_an_image_stays_a_distribution() -> None:
    images = batch()[0]
    targets = torch.eye(6, dtype=torch.int8)
    torch.manual_seed(0)
    for config in (MixingConfig(mixup=0.5), MixingConfig(cutmix=0.5)):
        _, blended = config(images, targets)
        torch.testing.assert_close(blended.sum(dim=1), torch.ones(6))


def test_nothing_is_mixed_where_nothing_is_asked_or_an_image_is_alone() -> None:
    images, targets = batch()
    found = MixingConfig()(images, targets)
    assert found[0] is images
    assert found[1] is targets
    images, targets = batch(1)
    found = MixingConfig(0.5, 0.5)(images, targets)
    assert found[0] is images
    assert found[1] is targets


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_a_negative_number_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"mixing.{name} is -0.1; expected 0 \(off\) or more"):
        MixingConfig(**{name: -0.1})
