"""Keywords inside images, of every kind that programs write."""

import struct
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from zsl.errors import InputError
from zsl.files.keywords import read_keywords
from zsl.files.sidecars import write_sidecar

XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    'rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag>'
    "<rdf:li>dog</rdf:li><rdf:li>Käse</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF>"
    '</x:xmpmeta><?xpacket end="w"?>'
)


def segment(marker: int, data: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data


def write_jpeg(path: Path, *segments: bytes, **more: bytes) -> Path:
    Image.new("RGB", (8, 8)).save(path, "JPEG", **more)
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"".join(segments) + data[2:])
    return path


def iptc(*keywords: bytes) -> bytes:
    records = b"".join(b"\x1c\x02\x19" + struct.pack(">H", len(w)) + w for w in keywords)
    block = b"8BIM\x04\x04\x00\x00" + struct.pack(">I", len(records)) + records
    return segment(0xED, b"Photoshop 3.0\x00" + block + b"\x00" * (len(records) % 2))


def test_xmp_iptc_windows_and_sidecar(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x9C9E] = "sea;dog".encode("utf-16-le") + b"\0\0"
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP.encode())
    path = write_jpeg(tmp_path / "a.jpg", xmp, iptc(b"dog", "Brücke".encode("cp1252")),
                      exif=exif.tobytes())  # fmt: skip
    write_sidecar(path, ["hill"])
    assert read_keywords(path) == ["dog", "Käse", "Brücke", "sea", "hill"]
    assert read_keywords(write_jpeg(tmp_path / "b.jpg", iptc(b"one"))) == ["one"]
    assert read_keywords(write_jpeg(tmp_path / "c.jpg")) == []


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_xmp_of_other_formats(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    image = Image.new("RGB", (8, 8))
    if suffix == "png":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", XMP)
        image.save(path, pnginfo=info)
    elif suffix == "tif":
        image.save(path, tiffinfo={700: XMP.encode()})
    else:
        image.save(path, xmp=XMP.encode())
    assert read_keywords(path) == ["dog", "Käse"]


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "no.jpg").write_bytes(b"text")
    with pytest.raises(InputError, match=r"The keywords of .*no.jpg can't be read"):
        read_keywords(tmp_path / "no.jpg")
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>")
    with pytest.raises(InputError, match=r"The XMP data inside .* can't be read"):
        read_keywords(write_jpeg(tmp_path / "bad.jpg", xmp))
