from typing import Any

import pytest
import torch
from torch import Tensor

from zsl.data import ImageConfig
from zsl.data.transforms import Cutout, training_transform
from zsl.errors import InputError
from zsl.preprocessing import evaluation_transform


def half_red(height: int = 20, width: int = 40) -> Tensor:
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    image[0, :, : width // 2] = 255
    return image


def test_evaluation_squashes_the_whole_image() -> None:
    transform = evaluation_transform(16)
    image = transform(half_red())
    assert transform.min_side == 16
    assert image.shape == (3, 16, 16)
    assert image.dtype == torch.uint8
    assert (image[0, :, :7] == 255).all()
    assert (image[0, :, 9:] == 0).all()


def test_training_flips_half_of_the_images() -> None:
    torch.manual_seed(0)
    squash = training_transform(ImageConfig(16, horizontal_flip=True))
    left_is_red = [bool(squash(half_red())[0, :, :7].float().mean() > 128) for _ in range(60)]
    assert 15 < sum(left_is_red) < 45


def test_training_crops_a_part_of_the_image() -> None:
    torch.manual_seed(0)
    crop = training_transform(ImageConfig(16, min_crop=0.25))
    assert crop.min_side == 32  # The smallest crop still has 16 pixels.
    shares = [(crop(half_red())[0] > 128).float().mean().item() for _ in range(30)]
    assert min(shares) < 0.35
    assert max(shares) > 0.65
    assert crop(half_red()).shape == (3, 16, 16)


def test_rand_augment_changes_images() -> None:
    torch.manual_seed(0)
    plain = training_transform(ImageConfig(16))
    varied = training_transform(ImageConfig(16, rand_augment=True))
    assert torch.equal(plain(half_red()), evaluation_transform(16)(half_red()))
    assert any(not torch.equal(varied(half_red()), plain(half_red())) for _ in range(10))


@pytest.mark.parametrize("size", [0.5, 0.9])
def test_cutout_paints_one_rectangle_around_any_point(size: float) -> None:
    torch.manual_seed(0)
    image = torch.full((3, 40, 20), 7, dtype=torch.uint8)
    full, corners = 0, 0
    for _ in range(200):
        painted = Cutout(size)(image.clone())
        changed = (painted != 7).any(dim=0)
        rows, columns = changed.any(dim=1).nonzero(), changed.any(dim=0).nonzero()
        height, width = len(rows), len(columns)
        assert changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert changed.sum() == height * width
        assert height <= 2 * (round(size * 40) // 2)
        assert width <= 2 * (round(size * 20) // 2)
        full += (height, width) == (2 * (round(size * 40) // 2), 2 * (round(size * 20) // 2))
        corners += bool(changed[0, 0])
        assert len(painted[:, changed].unique(dim=1)[0]) == 1
    assert corners > 10  # The edge may cut the rectangle.
    assert full > (50 if size == 0.5 else 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 0}, "images.size is 0; expected 1 or more"),
        ({"min_crop": 0.0}, "images.min_crop is 0.0; expected above 0, at most 1"),
        ({"cutout": 2.0}, "images.cutout is 2.0; expected 0 to 1"),
    ],
)
def test_numbers_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ImageConfig(**changes)
