from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from zsl.errors import InputError
from zsl.files.images import FORMATS, check_image, read_image, read_pixels, to_rgb


def half_red(width: int = 40, height: int = 20) -> Image.Image:
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[:, : width // 2, 0] = 255
    return Image.fromarray(pixels)


def smooth(width: int, height: int) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, (x + y) / 2], axis=-1).astype(np.uint8))


def test_images_are_seen_as_a_person_sees_them(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # Turned by 90 degrees: the left half is on top when shown.
    half_red().save(tmp_path / "turned.jpg", exif=exif, quality=95)
    for turned in (
        np.asarray(read_image(tmp_path / "turned.jpg")),
        read_pixels(tmp_path / "turned.jpg", 8),
    ):
        assert turned.shape == (40, 20, 3)
        assert turned[:18, :, 0].min() > 200
        assert turned[22:, :, 0].max() < 60

    grey = Image.fromarray(np.array([[0, 257 * 100, 65535]], dtype=np.uint16))
    assert np.asarray(to_rgb(grey))[0, :, 0].tolist() == [0, 100, 255]

    for values in ([0, 0.5, 1], [0, 128, 255], [0, 128 * 257, 65535]):
        grey = Image.fromarray(np.array([values], dtype=np.float32))
        assert np.asarray(to_rgb(grey))[0, :, 0].tolist() == [0, 128, 255]
    for values in ([0, 128, 255], [0, 128 * 257, 65535]):
        grey = Image.fromarray(np.array([values], dtype=np.int32))
        assert np.asarray(to_rgb(grey))[0, :, 0].tolist() == [0, 128, 255]

    clear = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    assert np.asarray(to_rgb(clear)).tolist() == [[[255] * 3] * 2]
    palette = Image.new("P", (2, 1), 0)
    assert to_rgb(palette).mode == to_rgb(Image.new("CMYK", (2, 1))).mode == "RGB"


@pytest.mark.parametrize("values", [[-1, 0], [0, 65536], [0, float("nan")]])
def test_grey_values_of_no_known_range_are_refused(tmp_path: Path, values: list[float]) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.array([values], dtype=np.float32)).save(path)
    for read in (read_image, lambda path: read_pixels(path, 8)):
        with pytest.raises(InputError, match=r"a\.tif can't be read \(its values are from"):
            read(path)


@pytest.mark.parametrize("kind", ["late EXIF", "XMP alone"])
def test_network_and_people_see_an_image_turned_alike(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "turned.jpg"
    if kind == "late EXIF":
        exif = Image.Exif()
        exif[0x0112] = 6
        half_red().save(path, exif=exif, quality=95)
        data = path.read_bytes()
        path.write_bytes(data[:2] + 2 * (b"\xff\xe2\xff\xff" + b"\0" * 65533) + data[2:])
    else:
        xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/>'
        half_red().save(path, xmp=xmp, quality=95)
    pixels = read_pixels(path, 8)
    assert pixels.shape == (40, 20, 3)
    assert np.array_equal(pixels, np.asarray(read_image(path)))


@pytest.mark.parametrize(
    ("size", "min_side", "expected"),
    [
        ((100, 80), 41, (80, 100)),  # Half would be too small.
        ((100, 80), 40, (40, 50)),
        ((100, 80), 20, (20, 25)),
        ((101, 83), 21, (21, 26)),
        ((30, 20), 224, (20, 30)),  # Never enlarged.
    ],
)
def test_jpegs_are_read_reduced_but_never_below_the_side_needed(
    tmp_path: Path, size: tuple[int, int], min_side: int, expected: tuple[int, int]
) -> None:
    smooth(*size).save(tmp_path / "a.jpg", quality=95)
    pixels = read_pixels(tmp_path / "a.jpg", min_side)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (*expected, 3)
    reference = smooth(*size).resize(expected[::-1], Image.Resampling.BOX)
    assert np.abs(pixels.astype(int) - np.asarray(reference)).mean() < 4


def test_a_jpeg_of_any_size_is_not_decoded(tmp_path: Path) -> None:
    """A few hundred bytes may ask for gigabytes."""
    path = tmp_path / "bomb.jpg"
    smooth(8, 8).save(path, progressive=True)
    data = bytearray(path.read_bytes())
    header = data.index(b"\xff\xc2")
    data[header + 5 : header + 9] = b"\xf0\x00\xf0\x00"  # 61440 x 61440 pixels.
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"bomb.jpg can't be read \(Image size"):
        read_pixels(path, 64)


@pytest.mark.parametrize("kind", ["L.jpg", "CMYK.jpg", "RGB.png", "RGBA.png", "exif.jpg", "webp"])
def test_any_kind_of_file_gives_the_pixels_that_a_person_sees(tmp_path: Path, kind: str) -> None:
    mode, _, suffix = kind.partition(".")
    path = tmp_path / f"a.{suffix or mode}"
    if kind == "webp" and not features.check("webp"):
        pytest.skip("Pillow without WebP")
    options: dict[str, Any] = {}
    if mode == "exif":
        exif = Image.Exif()
        exif[0x010F] = "a camera"
        options["exif"] = exif
    image = smooth(24, 16)
    image.convert(mode if mode in ("L", "CMYK", "RGBA") else "RGB").save(path, **options)
    pixels = read_pixels(path, 16)
    assert pixels.shape == (16, 24, 3)
    assert np.abs(pixels.astype(int) - np.asarray(read_image(path))).max() <= 3
    pixels[0, 0] = 0  # The pixels are the caller's own.


def test_what_is_not_an_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    smooth(640, 480).save(path)
    whole = path.read_bytes()
    for content, reason in (
        (whole[: len(whole) * 3 // 4], "truncated"),
        (b"not an image", "not an image"),
        (b"", "not an image"),
        (whole[:20], r"truncated|not an image|broken|Truncated"),
    ):
        path.write_bytes(content)
        for read in (read_image, lambda path: read_pixels(path, 8)):
            with pytest.raises(InputError, match=f"a.jpg can't be read .*{reason}.*; replace it"):
                read(path)
    with pytest.raises(InputError, match=r"none\.jpg can't be read .*No such file"):
        read_pixels(tmp_path / "none.jpg", 8)


def test_other_formats_are_named_and_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PIL.EpsImagePlugin.EpsImageFile._open", lambda *_: pytest.fail("opened"))
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    path = tmp_path / "photo.jpg"
    for content, found in (
        (postscript, "EPS"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC"),
        (b"8BPS\0\1" + bytes(40), "PSD"),
    ):
        path.write_bytes(content)
        message = rf"photo\.jpg can't be read \(its format is {found}; expected JPEG, PNG, "
        for read in (read_image, lambda path: read_pixels(path, 8)):
            with pytest.raises(InputError, match=message):
                read(path)
        assert check_image(path, None, 0).problem.startswith(f"its format is {found}; ")


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_read_whatever_its_suffix(tmp_path: Path, name: str) -> None:
    if name == "AVIF" and not features.check("avif"):
        pytest.skip("Pillow was built without AVIF")
    path = tmp_path / "a.gif"
    smooth(24, 16).save(path, format=name)
    assert np.abs(np.asarray(read_image(path)).astype(int) - smooth(24, 16)).mean() < 20
    assert check_image(path, None, 0).problem == ""


def test_damaged_exif_data_says_nothing_about_the_pixels(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x8769] = 1, "a camera", {0x9000: b"0230"}
    path = tmp_path / "a.jpg"
    smooth(24, 16).save(path, exif=exif)
    whole = path.read_bytes()
    start = whole.index(b"Exif")
    for position in range(start + 6, start + 110):
        for value in (0, 3, 255):
            path.write_bytes(whole[:position] + bytes([value]) + whole[position + 1 :])
            check = check_image(path, None, 0)
            if not check.problem:
                height, width, _ = read_pixels(path, 8).shape
                image = read_image(path)
                assert (height > width) == (image.height > image.width)
