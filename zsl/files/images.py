"""Image files: reading them for a network or for a person.

Pillow reads those of `FORMATS`; simplejpeg decodes JPEG, which most are, at a fraction of its size
and in a fraction of the time.
"""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from zsl.errors import InputError, reason_of
from zsl.files.atomic import atomic_path
from zsl.files.digests import bytes_digest

FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2",),
    "PPM": (".ppm", ".pgm"),
}
"""The formats that are read, by Pillow's names, and the suffixes of their files in folders.

Pillow knows more: films (.mpg) and data files (.h5), which lie among images, and PostScript, which
it has Ghostscript execute.
"""
SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises of a file that it can't read."""


def open_image(file: Path | BytesIO) -> Image.Image:
    """Opens an image file, by its content whatever its suffix; its pixels are not read yet.

    Raises:
        UnidentifiedImageError: It is not of one of `FORMATS`; the message says what it is.
    """
    Image.init()
    try:
        return Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])
    except UnidentifiedImageError as error:
        raise UnidentifiedImageError(_other_format(file)) from error


def _other_format(file: Path | BytesIO) -> str:
    """Says what a file is by its first bytes; nothing else of it is read."""
    with file.open("rb") if isinstance(file, Path) else BytesIO(file.getvalue()) as opened:
        prefix = opened.read(32)
    if prefix[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1"):
        found = "HEIC"
    else:
        # Some of Pillow's checks take it for granted that there are so many.
        checks = Image.OPEN.items() if len(prefix) == 32 else ()
        known = [name for name, (_, accept) in checks if accept and accept(prefix)]
        found = next((name for name in known if name not in FORMATS), "")
    return f"its format is {found}; expected {', '.join(FORMATS)}" if found else "not an image"


def read_image(path: Path) -> Image.Image:
    """Reads an image file as 8-bit RGB, in full size.

    Raises:
        InputError: Pillow can't read it.
    """
    return decode_image(_read(path), path)


def read_pixels(path: Path, min_side: int) -> np.ndarray:
    """Reads an image file for a network; a JPEG at half its size or less where that is enough.

    Args:
        path: The file.
        min_side: Pixels that each side must keep, if it has that many.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        InputError: Pillow can't read it.
    """
    return decode_pixels(_read(path), path, min_side)


def decode_image(data: bytes, path: Path) -> Image.Image:
    """Decodes the bytes of an image file, as `read_image`; `path` is for the error message."""
    try:
        with open_image(BytesIO(data)) as image:
            return to_rgb(image)
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def decode_pixels(data: bytes, path: Path, min_side: int) -> np.ndarray:
    """Decodes the bytes of an image file, as `read_pixels`; `path` is for the error message."""
    try:
        if simplejpeg.is_jpeg(data) and _is_upright(data):
            return _decode_reduced(data, min_side)
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError:
        pass  # Pillow knows more kinds of JPEG, and says what is wrong with a damaged one.
    return np.array(decode_image(data, path))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def _decode_reduced(jpeg: bytes, min_side: int) -> np.ndarray:
    height, width = simplejpeg.decode_jpeg_header(jpeg)[:2]
    if Image.MAX_IMAGE_PIXELS and height * width > 2 * Image.MAX_IMAGE_PIXELS:
        raise ValueError(
            "Pillow refuses so many pixels; here a progressive JPEG would fill memory."
        )
    sides = {"min_height": min_side, "min_width": min_side}
    # A factor below 2, such as 8/7, saves no time unless it leaves nothing to resize.
    is_exact = simplejpeg.decode_jpeg_header(jpeg, **sides)[:2] == (min_side, min_side)
    return simplejpeg.decode_jpeg(jpeg, min_factor=1 if is_exact else 2, **sides)


def _is_upright(jpeg: bytes) -> bool:
    """Whether it need not be turned; Pillow, which is slower, is asked where it may have to."""
    if b"Exif\0\0" not in jpeg and b"tiff:Orientation" not in jpeg:
        return True
    with open_image(BytesIO(jpeg)) as image:
        return not _is_turned(image)


def _is_turned(image: Image.Image) -> bool:
    """Whether the EXIF or XMP data says so; damaged data is ignored."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
    except Exception:
        return False


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts any image to 8-bit RGB as a person sees it.

    It is turned as its EXIF or XMP data says, grey values of more than 8 bits are scaled,
    transparency becomes white.

    Raises:
        ValueError: The grey values have no range that an image has.
    """
    if _is_turned(image):
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_as_8_bits(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _as_8_bits(image: Image.Image) -> np.ndarray:
    """Scales grey values to 0 to 255: 16-bit ones by their type, others by their range."""
    values = np.asarray(image, dtype=np.float64)
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 65535):
        raise ValueError(
            f"its values are from {low:g} to {high:g}; expected 0 to 1, 0 to 255 or 0 to 65535"
        )
    if image.mode == "F" and high <= 1:
        values = values * 255
    elif high > 255 or image.mode.startswith("I;16"):
        values = values / 257
    return values.round().astype(np.uint8)


def unreadable(path: Path, error: Exception) -> InputError:
    """Returns the error for an image file that can't be read."""
    return InputError(
        f"The image {path} can't be read ({reason_of(error)}); replace it, or take it out of the "
        "data."
    )


def check_ends(path: Path) -> None:
    """Opens an image file; reads it whole only if it does not end as its format does.

    Raises:
        OSError: It is missing, not an image, or cut off, as after a broken download; other
            exceptions of Pillow's, too.
    """
    with open_image(path) as image:
        size = path.stat().st_size
        end = _ENDS.get(image.format or "")
        with path.open("rb") as file:
            head = file.read(8)
            file.seek(max(0, size - 4096))
            tail = file.read()
        is_short = image.format == "WEBP" and int.from_bytes(head[4:], "little") + 8 > size
        if is_short or (end and end not in tail):
            image.load()


class ImageCheck(NamedTuple):
    """What was found in an image file."""

    size: int
    """Bytes of the file."""
    mtime_ns: int
    """Time of the last change, in nanoseconds."""
    content: str
    """A digest of the bytes."""
    is_flat: bool
    """Whether all pixels have one colour."""
    problem: str
    """Why it can't be read; empty if it can be."""


def check_image(path: Path, shrunken: Path | None, side: int) -> ImageCheck:
    """Reads an image file to its end; writes a smaller copy of it.

    The copy is squashed to a square, as evaluation does with every image, and keeps the time of
    change of the original.

    Args:
        path: The file.
        shrunken: The file of the copy; None writes none.
        side: Width and height of the copy in pixels.
    """
    try:
        stat = path.stat()
        data = path.read_bytes()
    except OSError as error:
        return ImageCheck(0, 0, "", False, reason_of(error))
    content = bytes_digest([data])
    try:
        with open_image(BytesIO(data)) as opened:
            image = to_rgb(opened)
    except Exception as error:  # Damaged files fail in many ways; none may stop the others.
        return ImageCheck(stat.st_size, stat.st_mtime_ns, content, False, reason_of(error))
    if shrunken is not None:
        small = image.resize((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
        buffer = BytesIO()
        small.save(buffer, "JPEG", quality=85)
        with atomic_path(shrunken) as temporary:
            temporary.write_bytes(buffer.getvalue())
            os.utime(temporary, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    is_flat = image.getcolors(maxcolors=1) is not None
    return ImageCheck(stat.st_size, stat.st_mtime_ns, content, is_flat, "")
