"""XMP sidecars: what is added, what stays."""

import os
import random
import string
from pathlib import Path
from xml.etree import ElementTree

import pytest

from zsl.errors import InputError
from zsl.files.sidecars import read_sidecar, sidecar_path, write_sidecar

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DC = "http://purl.org/dc/elements/1.1/"
LIGHTROOM = "http://ns.adobe.com/lightroom/1.0/"

DARKTABLE = f"""<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="{RDF}">
  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="{DC}"
    xmlns:lr="{LIGHTROOM}" xmlns:darktable="http://darktable.sf.net/" xmp:Rating="4"
    darktable:history_end='3 > 2'>
   <dc:subject>
    <rdf:Bag>
     <rdf:li>Tom &amp; Ann</rdf:li>
     <rdf:li>kitchen</rdf:li>
    </rdf:Bag>
   </dc:subject>
   <lr:hierarchicalSubject>
    <rdf:Bag>
     <rdf:li>people|Tom &amp; Ann</rdf:li>
     <rdf:li>rooms|Kitchen</rdf:li>
    </rdf:Bag>
   </lr:hierarchicalSubject>
   <darktable:history><rdf:Seq><rdf:li darktable:params="gz02eJ"/></rdf:Seq></darktable:history>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""
LIGHTROOM_WITHOUT_KEYWORDS = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<!-- written by a camera -->
<x:xmpmeta xmlns:x="adobe:ns:meta/"><RDF xmlns="{RDF}">
<Description xmlns:r="{RDF}" r:about="uuid:7" xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
 crs:Exposure2012="+0.35"/></RDF></x:xmpmeta>
<?xpacket end="w"?>"""
DIGIKAM_WITH_EMPTY_LISTS = f"""\ufeff<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="{RDF}">
<r:Description r:about=""><s:subject xmlns:s="{DC}"><r:Bag /></s:subject>
<TagsList xmlns="http://www.digikam.org/ns/1.0/"><r:Seq/></TagsList></r:Description>
</r:RDF></x:xmpmeta>"""
EMPTY = f'<rdf:RDF xmlns:rdf="{RDF}"/>'
SIDECARS = [DARKTABLE, LIGHTROOM_WITHOUT_KEYWORDS, DIGIKAM_WITH_EMPTY_LISTS, EMPTY]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"the image")
    return path


def subjects(path: Path, name: str = f"{{{DC}}}subject") -> list[str]:
    """The items of a property, read by another parser."""
    root = ElementTree.parse(path).getroot()
    return ["".join(li.itertext()) for li in root.iterfind(f".//{name}/*/{{{RDF}}}li")]


def test_a_new_sidecar_has_the_tags(image: Path) -> None:
    assert read_sidecar(image) == []
    assert write_sidecar(image, ["sofa", "fish & chips <fresh>", "Küche"]) == [
        *("sofa", "fish & chips <fresh>", "Küche")
    ]
    path = image.with_name("photo.jpg.xmp")
    assert path == sidecar_path(image)
    assert subjects(path) == read_sidecar(image) == ["sofa", "fish & chips <fresh>", "Küche"]
    assert sorted(os.listdir(image.parent)) == ["photo.jpg", "photo.jpg.xmp"]
    assert image.read_bytes() == b"the image"


@pytest.mark.parametrize("before", SIDECARS)
def test_all_that_was_there_stays_byte_by_byte(image: Path, before: str) -> None:
    path = sidecar_path(image)
    path.write_text(before, encoding="utf-8")
    earlier = subjects(path)
    assert read_sidecar(image) == earlier
    assert write_sidecar(image, ["KITCHEN", "sofa"])[-1] == "sofa"
    assert subjects(path) == read_sidecar(image)
    assert subjects(path)[: len(earlier)] == earlier
    assert {"kitchen", "sofa"} <= {name.lower() for name in subjects(path)}
    rest = iter(path.read_text(encoding="utf-8"))
    # Of "<a/>" the slash goes: it becomes "<a>...</a>", of which the slash follows.
    assert all(character in rest for character in before)


def test_lists_of_paths_that_are_there_get_the_tags_too(image: Path) -> None:
    """DigiKam and darktable read theirs in the place of dc:subject."""
    path = sidecar_path(image)
    path.write_text(DARKTABLE)
    assert write_sidecar(image, ["kitchen", "sofa"]) == ["sofa"]
    assert subjects(path, f"{{{LIGHTROOM}}}hierarchicalSubject") == [
        *("people|Tom & Ann", "rooms|Kitchen", "sofa")
    ]
    path.write_text(DIGIKAM_WITH_EMPTY_LISTS, encoding="utf-8")
    write_sidecar(image, ["sofa"])
    assert subjects(path, "{http://www.digikam.org/ns/1.0/}TagsList") == ["sofa"]


def test_the_subject_is_told_of_the_same_thing_as_the_rest(image: Path) -> None:
    path = sidecar_path(image)
    path.write_text(LIGHTROOM_WITHOUT_KEYWORDS, encoding="utf-8")
    write_sidecar(image, ["sofa"])
    found = ElementTree.parse(path).getroot().iter(f"{{{RDF}}}Description")
    assert [item.get(f"{{{RDF}}}about") for item in found] == ["uuid:7", "uuid:7"]


def test_nothing_is_written_where_nothing_is_new(image: Path) -> None:
    assert write_sidecar(image, []) == []
    assert not sidecar_path(image).exists()
    sidecar_path(image).write_text(DARKTABLE)
    os.utime(sidecar_path(image), ns=(1, 1))
    assert write_sidecar(image, ["Kitchen", " kitchen "]) == []
    assert sidecar_path(image).stat().st_mtime_ns == 1


def test_any_words_added_one_by_one_or_at_once(image: Path) -> None:
    draw = random.Random(0)
    other = image.with_name("other.png")
    words = ["".join(draw.choices(string.printable[:95] + "äß東🙂", k=9)) + "." for _ in range(60)]
    for word in words:
        write_sidecar(image, [word])
    write_sidecar(other, words)
    assert subjects(sidecar_path(image)) == subjects(sidecar_path(other)) == read_sidecar(other)
    assert read_sidecar(other) == [word.strip() for word in words]


def test_keywords_of_what_the_image_contains_are_not_its_own(image: Path) -> None:
    """A property within a property, such as of the image it was made from."""
    nested = DARKTABLE.replace("<dc:subject>", "<dc:source><dc:subject>").replace(
        "</dc:subject>", "</dc:subject></dc:source>"
    )
    sidecar_path(image).write_text(nested)
    assert read_sidecar(image) == []
    assert write_sidecar(image, ["kitchen"]) == ["kitchen"]
    assert read_sidecar(image) == ["kitchen"]


BOMB = f"""<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<rdf:RDF xmlns:rdf="{RDF}"><rdf:li>&b;</rdf:li></rdf:RDF>"""
ATTRIBUTE = f'<r:RDF xmlns:r="{RDF}"><r:Description xmlns:dc="{DC}" dc:subject="sofa"/></r:RDF>'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not well-formed XML (no element found"),
        (DARKTABLE[:-20].encode(), "is not well-formed XML ("),
        (b"<html></html>", "has no rdf:RDF in it"),
        (BOMB.encode(), "declares a document type"),
        (DARKTABLE.encode("utf-16"), "is not written in UTF-8"),
        (DARKTABLE.replace("UTF-8", "us-ascii").encode(), "is written in us-ascii"),
        (EMPTY.encode("utf-16"), "is not written in UTF-8"),
        (DARKTABLE.replace("rdf:Bag>", "rdf:Bog>").encode(), "but not as a list of keywords"),
        (ATTRIBUTE.encode(), "has subject in it, but not as a list of keywords"),
    ],
)
def test_what_is_not_understood_is_left(image: Path, content: bytes, message: str) -> None:
    path = sidecar_path(image)
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        write_sidecar(image, ["sofa"])
    assert message in str(error.value)
    assert f"The sidecar {path}" in str(error.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize("tag", ["", "  ", "a\0b", "\x1b[31m", "\ud800"])
def test_a_tag_that_xml_has_not_is_refused(image: Path, tag: str) -> None:
    with pytest.raises(InputError, match="can't be written to a sidecar"):
        write_sidecar(image, ["sofa", tag])
    assert not sidecar_path(image).exists()


def test_a_failed_write_leaves_the_old_file(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sidecar_path(image)
    path.write_text(DARKTABLE)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write_sidecar(image, ["sofa"])
    assert path.read_text() == DARKTABLE
    assert sorted(os.listdir(image.parent)) == ["photo.jpg", "photo.jpg.xmp"]
