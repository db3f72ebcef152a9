"""Keywords inside image files and beside them, as programs for photographs write them."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from PIL import ExifTags, Image, IptcImagePlugin
from PIL.ImageFile import ImageFile

from zsl.errors import InputError, reason_of
from zsl.files.images import UNREADABLE, open_image
from zsl.files.sidecars import read_packet, read_sidecar

_IPTC_KEYWORDS = (2, 25)
_XMP_TAG = 700
"""Of TIFF."""
_UTF_8 = b"\x1b%G"
"""What IPTC's record 1:90 holds where texts are UTF-8."""


def read_keywords(path: Path) -> list[str]:
    """Returns the keywords of an image: those of XMP, IPTC, Windows and of its sidecar, each once.

    Raises:
        InputError: The file is not an image, or what it holds of keywords can't be read.
    """
    try:
        with open_image(path) as image:
            found = [*_xmp(image, path), *_iptc(image), *_windows(image), *read_sidecar(path)]
    except UNREADABLE as error:
        raise InputError(f"The keywords of {path} can't be read ({reason_of(error)}).") from error
    return list(dict.fromkeys(word.strip() for word in found if word.strip()))


def _xmp(image: Image.Image, path: Path) -> list[str]:
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    if not packet and hasattr(image, "tag_v2"):
        packet = image.tag_v2.get(_XMP_TAG)
    if not packet:
        return []
    data = packet.encode() if isinstance(packet, str) else bytes(packet)
    try:
        return read_packet(data.strip(b"\0 \r\n"), path)
    except InputError as error:
        raise InputError(f"The XMP data inside {path} can't be read.") from error


def _iptc(image: Image.Image) -> list[str]:
    try:
        records = IptcImagePlugin.getiptcinfo(cast(ImageFile, image)) or {}
    except Exception:  # Damaged records fail in many ways, and hold no keyword.
        return []
    words = records.get(_IPTC_KEYWORDS, [])
    words = words if isinstance(words, list) else [words]
    return [_decoded(word, records.get((1, 90)) == _UTF_8) for word in words]


def _decoded(word: bytes, is_utf_8: bool) -> str:
    try:
        return word.decode("utf-8")
    except UnicodeDecodeError:
        return word.decode("utf-8" if is_utf_8 else "cp1252", "replace")


def _windows(image: Image.Image) -> list[str]:
    """What Explorer shows as tags: UTF-16 with semicolons."""
    try:
        value = image.getexif().get(ExifTags.Base.XPKeywords, b"")
    except Exception:  # Damaged EXIF data, as of its orientation.
        return []
    data = bytes(value) if isinstance(value, bytes | tuple) else b""
    return data.decode("utf-16-le", "ignore").rstrip("\0").split(";")
