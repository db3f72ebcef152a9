"""Image files: reading them for a network or for a person."""

from __future__ import annotations

import hashlib
import os
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from zsl.errors import InputError
from zsl.files.atomic import atomic_path

_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def read_image(path: Path) -> Image.Image:
    """Reads an image file as 8-bit RGB, in full size.

    Raises:
        InputError: It is no image that Pillow can read.
    """
    try:
        with Image.open(path) as image:
            return to_rgb(image)
    except _UNREADABLE as error:
        raise unreadable(path, error) from error


def read_pixels(path: Path, min_side: int) -> np.ndarray:
    """Reads an image file for a network, JPEG at half its size or less where that is enough.

    Args:
        path: The file.
        min_side: Pixels that each side keeps, if it has that many.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        InputError: It is no image that Pillow can read.
    """
    try:
        data = path.read_bytes()
        if simplejpeg.is_jpeg(data) and _is_upright(data):
            return _decode_reduced(data, min_side)
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError:
        pass  # Pillow knows more kinds of JPEG, and says what is wrong with a damaged one.
    return np.array(read_image(path))


def _decode_reduced(jpeg: bytes, min_side: int) -> np.ndarray:
    height, width = simplejpeg.decode_jpeg_header(jpeg)[:2]
    if Image.MAX_IMAGE_PIXELS and height * width > 2 * Image.MAX_IMAGE_PIXELS:
        raise ValueError("Pillow refuses these; a progressive one is decoded in full size.")
    sides = {"min_height": min_side, "min_width": min_side}
    # Factors below 2 cost time; not where they leave nothing to resize.
    is_exact = simplejpeg.decode_jpeg_header(jpeg, **sides)[:2] == (min_side, min_side)
    return simplejpeg.decode_jpeg(jpeg, min_factor=1 if is_exact else 2, **sides)


def _is_upright(jpeg: bytes) -> bool:
    if jpeg.find(b"Exif\0\0", 0, 65536) < 0:
        return True
    with Image.open(BytesIO(jpeg)) as image:
        return not _is_turned(image)


def _is_turned(image: Image.Image) -> bool:
    """Whether the EXIF data says so; damaged data says nothing."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
    except Exception:
        return False


def to_rgb(image: Image.Image) -> Image.Image:
    """Brings any picture to 8-bit RGB as a person sees it.

    Turned as its EXIF data says, 16-bit grey values scaled, transparency laid on white.
    """
    if _is_turned(image):
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        values = np.asarray(image, dtype=np.float64) / 257
        image = Image.fromarray(values.clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def unreadable(path: Path, error: Exception) -> InputError:
    """The error for an image file that Pillow failed on."""
    reason = "not an image" if isinstance(error, UnidentifiedImageError) else str(error)
    return InputError(
        f"The image {path} can't be read ({reason}); replace it, or take it out of the data."
    )


class ImageCheck(NamedTuple):
    """What was found in an image file."""

    size: int
    """Bytes."""
    mtime_ns: int
    """Time of the last change."""
    content: str
    """A digest of the bytes."""
    is_flat: bool
    """Whether all pixels have one colour."""
    problem: str
    """Why it can't be read; empty if it can."""


def check_image(path: Path, shrunken: Path | None, side: int) -> ImageCheck:
    """Reads an image file to its end; writes a smaller copy of it.

    The copy is squashed to a square, as evaluation does with every image, and has the time of
    change of the original.

    Args:
        path: The file.
        shrunken: Where the copy goes; None makes none.
        side: Pixels of the copy's sides.
    """
    try:
        stat = path.stat()
        data = path.read_bytes()
    except OSError as error:
        return ImageCheck(0, 0, "", False, str(error))
    content = hashlib.sha256(data).hexdigest()[:16]
    try:
        with Image.open(BytesIO(data)) as opened:
            image = to_rgb(opened)
    except Exception as error:  # Damaged files fail in many ways; none may stop the others.
        problem = "not an image" if isinstance(error, UnidentifiedImageError) else repr(error)
        return ImageCheck(stat.st_size, stat.st_mtime_ns, content, False, problem)
    if shrunken is not None:
        with atomic_path(shrunken) as temporary:
            small = image.resize((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
            small.save(temporary, "JPEG", quality=85)
            os.utime(temporary, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    is_flat = image.getcolors(maxcolors=1) is not None
    return ImageCheck(stat.st_size, stat.st_mtime_ns, content, is_flat, "")
