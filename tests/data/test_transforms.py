import random
from typing import Any

import numpy as np
import pytest
import timm.data
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from zsl.data import ImageConfig
from zsl.data.transforms import Cutout, training_transform
from zsl.errors import InputError
from zsl.preprocessing import Resizing, evaluation_transform


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


def photograph(width: int = 90, height: int = 70) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("center_crop", [0.875, 0.95, 1.0])
def test_evaluation_cuts_the_square_that_timm_cuts(interpolation: Any, center_crop: float) -> None:
    expected = timm.data.create_transform(
        (3, 32, 32), interpolation=interpolation, crop_pct=center_crop, use_prefetcher=True
    )
    transform = evaluation_transform(32, Resizing(interpolation, center_crop))
    for shape in ((90, 70), (41, 160), (20, 20)):
        image = photograph(*shape)
        found = transform(pil_to_tensor(image))
        difference = found.int() - torch.as_tensor(expected(image)).int()
        # torchvision and Pillow round differently.
        assert difference.abs().max() <= 1
    assert transform.min_side == int(32 / center_crop)


def test_training_without_a_random_crop_sees_what_evaluation_sees() -> None:
    images = ImageConfig(32, "bicubic", 0.9)
    image = pil_to_tensor(photograph())
    found = training_transform(images)(image)
    assert torch.equal(found, evaluation_transform(32, images.resizing)(image))
    assert not torch.equal(found, training_transform(ImageConfig(32))(image))


@pytest.mark.parametrize("policy", ["rand-m7-mstd0.5-inc1", "augmix-m5-w4-d2", "original-mstd0.5"])
def test_policies_are_those_of_timms_training(policy: str) -> None:
    """Its second transform; the first is the crop, the third the normalisation."""
    own = training_transform(ImageConfig(64, "bicubic", auto_augment=policy))
    _, timms, _ = timm.data.create_transform(
        64, is_training=True, auto_augment=policy, interpolation="bicubic", separate=True
    )
    image = photograph(64, 64)
    for seed in range(20):
        random.seed(seed)
        np.random.seed(seed)
        expected = pil_to_tensor(timms(image))
        random.seed(seed)
        np.random.seed(seed)
        assert torch.equal(own(pil_to_tensor(image)), expected)


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


@pytest.mark.parametrize("policy", [True, "published"])
def test_rand_augment_changes_images(policy: Any) -> None:
    torch.manual_seed(0)
    plain = training_transform(ImageConfig(16))
    varied = training_transform(ImageConfig(16, rand_augment=policy))
    assert torch.equal(plain(half_red()), evaluation_transform(16)(half_red()))
    assert any(not torch.equal(varied(half_red()), plain(half_red())) for _ in range(10))


@pytest.mark.parametrize("size", [0.5, 0.9, 1.0])
def test_cutout_paints_the_rectangle_of_the_published_code(size: float) -> None:
    """That draws it with Pillow, around any point; the edge may cut it."""
    cut_corners = 0
    for seed in range(100):
        torch.manual_seed(seed)
        painted = Cutout(size)(torch.full((3, 41, 20), 7, dtype=torch.uint8))
        torch.manual_seed(seed)
        row, column, *colour = torch.rand(5).tolist()
        y, x = int(row * 41), int(column * 20)
        half_height, half_width = int(size * 41 + 0.5) // 2, int(size * 20 + 0.5) // 2
        expected = Image.new("RGB", (20, 41), (7, 7, 7))
        ImageDraw.Draw(expected).rectangle(
            (
                max(x - half_width, 0),
                max(y - half_height, 0),
                min(x + half_width, 20),
                min(y + half_height, 41),
            ),
            fill=tuple(int(256 * part) for part in colour),
        )
        assert torch.equal(painted, pil_to_tensor(expected))
        cut_corners += bool((painted[:, 0, 0] != 7).any())
    assert 0 < cut_corners < 100


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 0}, "images.size is 0; expected 1 or more"),
        ({"min_crop": 0.0}, "images.min_crop is 0.0; expected above 0, at most 1"),
        ({"cutout": 2.0}, "images.cutout is 2.0; expected 0 to 1"),
        ({"interpolation": "nearest"}, "images.interpolation is 'nearest'; expected bilinear or"),
        ({"center_crop": 1.5}, "images.center_crop is 1.5; expected above 0, at most 1, or null"),
        ({"auto_augment": "magic"}, r"'magic', which timm does not understand \(.*\); expected a"),
        ({"auto_augment": "rand-mhigh1"}, "'rand-mhigh1', which timm does not understand"),
        ({"auto_augment": "rand-m9", "rand_augment": True}, "beside rand_augment True; set one of"),
        ({"rand_augment": "official"}, "images.rand_augment is 'official'; expected true, false"),
    ],
)
def test_what_is_out_of_range_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ImageConfig(**changes)
