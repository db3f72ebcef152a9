"""Images as batches for a network."""

from pathlib import Path

import numpy as np
from PIL import Image

from zsl.inference.image_batches import ImageLike, image_batches


def test_files_of_any_kind_are_seen_alike(tmp_path: Path) -> None:
    """They are black, so every pixel is 0."""
    Image.new("RGB", (40, 30)).save(tmp_path / "a plain.png")
    Image.new("RGB", (1, 1)).save(tmp_path / "b pixel.png")
    Image.new("CMYK", (40, 30), (0, 0, 0, 255)).save(tmp_path / "c cmyk.tif")
    Image.fromarray(np.zeros((30, 40), dtype=np.uint16)).save(tmp_path / "d sixteen.png")
    frames = [Image.new("L", (40, 30), grey) for grey in (0, 255)]
    frames[0].save(tmp_path / "e animated.gif", save_all=True, append_images=frames[1:])
    Image.new("P", (40, 30), 0).save(tmp_path / "f palette.png")
    Image.new("LA", (40, 30), (0, 255)).save(tmp_path / "g grey alpha.png")
    (batch,) = image_batches(sorted(tmp_path.iterdir()), 8, 32)
    assert batch.images.shape == (7, 3, 8, 8)
    assert not batch.images.any()


def test_a_turned_image_is_seen_upright(tmp_path: Path) -> None:
    pixels = np.zeros((64, 64, 3), dtype=np.uint8)
    pixels[:32] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # To be turned by 90 degrees clockwise.
    turned = Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90)
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=100)
    (batch,) = image_batches([tmp_path / "turned.jpg"], 8, 1)
    assert batch.images[0, :, :3].min() > 250
    assert batch.images[0, :, 5:].max() < 5


def test_unreadable_images_are_told_apart(tmp_path: Path) -> None:
    grey = [Image.new("L", (9, 9), value) for value in (10, 20, 30)]
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    images: list[ImageLike] = [
        grey[0],
        tmp_path / "broken.jpg",
        tmp_path / "none.jpg",
        grey[1],
        grey[2],
    ]
    batches = list(image_batches(images, 8, 2))
    assert [batch.indices for batch in batches] == [[0], [3], [4]]
    assert [batch.images[:, 0, 0, 0].tolist() for batch in batches] == [[10], [20], [30]]
    assert [len(batch.problems) for batch in batches] == [1, 1, 0]
    assert "broken.jpg can't be read (not an image)" in str(batches[0].problems[0])
