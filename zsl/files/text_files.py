"""Text files as users have them: their encoding, and what is not text at all."""

from __future__ import annotations

import codecs
import gzip
import logging
import zlib
from pathlib import Path

from zsl.errors import InputError, reason_of

_log = logging.getLogger(__name__)
_GZIP = b"\x1f\x8b"
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NO_TEXT = {b"PK": "an Excel workbook or another zip file", b"PAR1": "a Parquet file"}


def read_text(path: Path, expected: str, fallback: str = "") -> str:
    """Reads a text file: UTF-8, or UTF-16 with its mark at the beginning; also gzipped.

    Args:
        path: The file.
        expected: What kind of file it should be, for the message.
        fallback: The encoding of a file that is not UTF-8, with a warning; empty refuses it.

    Raises:
        InputError: It can't be read, or is something else than text.
    """
    try:
        data = path.read_bytes()
        if data.startswith(_GZIP):
            data = gzip.decompress(data)
        text = _decode(data, path, fallback)
        problem = "it has bytes of zero, which no text has" if "\0" in text else ""
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problem = (
            f"line {line} is not UTF-8; if it comes from Windows, convert it by "
            "iconv -f cp1252 -t utf-8"
        )
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; expected {expected}.") from error
    except (OSError, EOFError, zlib.error) as error:
        data, problem = b"", reason_of(error)
    if problem:
        kinds = [f"it is {kind}" for start, kind in _NO_TEXT.items() if data.startswith(start)]
        problem = kinds[0] if kinds else problem
        raise InputError(f"{path} can't be read ({problem}); expected {expected}.")
    return text


def _decode(data: bytes, path: Path, fallback: str) -> str:
    if data.startswith(_UTF_16):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if not fallback or any(data.startswith(start) for start in _NO_TEXT):
            raise
        line = data.count(b"\n", 0, error.start) + 1
        _log.warning("%s: line %d is not UTF-8; read as %s.", path, line, fallback)
        return data.decode(fallback, "replace")


def looks_like_json(text: str) -> bool:
    """Whether a text begins as a list or an object of JSON does."""
    return text.lstrip()[:1] in ("[", "{")
