from pathlib import Path

import numpy as np
import torch
from PIL import Image

from zsl.data.transforms import evaluation_transform, to_rgb, training_transform


def picture() -> Image.Image:
    pixels = np.zeros((20, 40, 3), dtype=np.uint8)
    pixels[:, :20, 0] = 255
    return Image.fromarray(pixels)


def test_evaluation_squashes_the_whole_picture() -> None:
    image = evaluation_transform(16)(picture())
    assert image.shape == (3, 16, 16)
    assert image.dtype == torch.uint8
    assert (image[0, :, :7] == 255).all()
    assert (image[0, :, 9:] == 0).all()


def test_training_flips_half_of_the_pictures() -> None:
    torch.manual_seed(0)
    squash = training_transform(16, min_crop=1.0, horizontal_flip=True, rand_augment=False)
    left_is_red = [bool(squash(picture())[0, :, :7].float().mean() > 128) for _ in range(60)]
    assert 15 < sum(left_is_red) < 45


def test_training_crops_a_part_of_the_picture() -> None:
    torch.manual_seed(0)
    crop = training_transform(16, min_crop=0.2, horizontal_flip=False, rand_augment=False)
    shares = [(crop(picture())[0] > 128).float().mean().item() for _ in range(30)]
    assert min(shares) < 0.35
    assert max(shares) > 0.65
    assert crop(picture()).shape == (3, 16, 16)


def test_rand_augment_changes_pictures() -> None:
    torch.manual_seed(0)
    plain = training_transform(16, min_crop=1.0, horizontal_flip=False, rand_augment=False)
    varied = training_transform(16, min_crop=1.0, horizontal_flip=False, rand_augment=True)
    assert torch.equal(plain(picture()), evaluation_transform(16)(picture()))
    assert any(not torch.equal(varied(picture()), plain(picture())) for _ in range(10))


def test_pictures_are_seen_as_a_person_sees_them(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # Turned by 90 degrees: the left half is on top when shown.
    picture().save(tmp_path / "turned.jpg", exif=exif, quality=95)
    with Image.open(tmp_path / "turned.jpg") as image:
        turned = np.asarray(to_rgb(image))
    assert turned.shape == (40, 20, 3)
    assert turned[:18, :, 0].min() > 200
    assert turned[22:, :, 0].max() < 60

    grey = Image.fromarray(np.array([[0, 257 * 100, 65535]], dtype=np.uint16))
    assert np.asarray(to_rgb(grey))[0, :, 0].tolist() == [0, 100, 255]

    clear = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    assert np.asarray(to_rgb(clear)).tolist() == [[[255] * 3] * 2]
    palette = Image.new("P", (2, 1), 0)
    assert to_rgb(palette).mode == to_rgb(Image.new("CMYK", (2, 1))).mode == "RGB"
