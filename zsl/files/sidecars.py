"""XMP sidecars: tags beside an image, where programs for photographs look for them.

The sidecar of `photo.jpg` is `photo.jpg.xmp`, as darktable and digiKam name it. Adobe's `photo.xmp`
may belong to `photo.cr2` and hold how that was developed, and Lightroom reads none for formats that
hold XMP themselves, which are those that are read here.

Tags are items of `dc:subject`, the keywords of XMP and of IPTC Core (ISO 16684-1:2019, 8.3). A
program that has a list of its own, with keywords as paths, reads that one first; such a list gets
the tags too if it is there. A sidecar that is there is not written anew: text is inserted, and all
else stays byte by byte, unknown namespaces and comments too.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from zsl.errors import InputError, reason_of, require
from zsl.files.atomic import write_atomically

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DC = "http://purl.org/dc/elements/1.1/"
_SUBJECT = f"{_DC} subject"
_PATH_LISTS = (
    "http://ns.adobe.com/lightroom/1.0/ hierarchicalSubject",
    "http://www.digikam.org/ns/1.0/ TagsList",
)
_ARRAYS = {f"{_RDF} {kind}" for kind in ("Bag", "Seq", "Alt")}
_NEW = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
    f'<rdf:RDF xmlns:rdf="{_RDF}"></rdf:RDF>\n</x:xmpmeta>\n'
).encode()
_START_TAG = re.compile(rb"<([^\s/>]+)(?:[^>\"']|\"[^\"]*\"|'[^']*')*>")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def sidecar_path(image: Path) -> Path:
    """Returns where the sidecar of an image lies: `photo.jpg.xmp` beside `photo.jpg`."""
    return image.with_name(image.name + ".xmp")


def read_sidecar(image: Path) -> list[str]:
    """Returns the keywords in the sidecar of an image; none where there is no sidecar.

    Raises:
        InputError: The sidecar can't be read.
    """
    path = sidecar_path(image)
    if not path.exists():
        return []
    return read_packet(_read(path), path)


def read_packet(content: bytes, path: Path) -> list[str]:
    """Returns the keywords in XMP data, of a sidecar or of the image file at `path`.

    Raises:
        InputError: The data can't be read.
    """
    keywords = _Sidecar(content, path).keywords
    return keywords[_SUBJECT].items if _SUBJECT in keywords else []


def write_sidecar(image_path: Path, tags: Sequence[str]) -> list[str]:
    """Adds tags to the sidecar of an image, which is made if needed; the image is not touched.

    The file is whole at any time: a temporary one takes its place.

    Args:
        image_path: The image file.
        tags: Names. Those that are there already, in upper or lower case, are not added again.

    Returns:
        The tags that were added; if there are none, nothing was written.

    Raises:
        InputError: A tag is empty or has characters that XML has not, or the sidecar that is there
            can't be read; it is left as it is.
        OSError: It can't be written.
    """
    for tag in tags:
        require(
            bool(tag.strip()) and not _NOT_XML.search(tag),
            f"The tag {tag!r} can't be written to a sidecar, since it is empty or has a control "
            "character in it; take it out.",
        )
    path = sidecar_path(image_path)
    sidecar = _Sidecar(_read(path) if path.exists() else _NEW, path)
    added, content = sidecar.with_tags(tags)
    if added:
        write_atomically(path, content)
    return added


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"The sidecar {path} can't be read ({error.strerror}); it is left as it is."
        ) from error


class _Element(NamedTuple):
    """An element, and where more can be put into it."""

    name: str
    start: int
    """Position of its start tag, in bytes."""
    end: int
    """Position of its end tag."""


class _Keywords(NamedTuple):
    """A list of keywords in a sidecar."""

    items: list[str]
    element: _Element


class _Sidecar:
    """What a sidecar has of keywords, and where.

    Args:
        content: The bytes of the file.
        path: For messages.

    Attributes:
        keywords: The lists of keywords by the names of their properties.

    Raises:
        InputError: It is not XMP in UTF-8, or declares a document type, as only attacks by
            expanding entities do.
    """

    def __init__(self, content: bytes, path: Path) -> None:
        self.keywords: dict[str, _Keywords] = {}
        self._content = content
        self._path = path
        self._rdf: _Element | None = None
        self._about = ""
        self._open: list[tuple[str, int]] = []
        self._properties: set[str] = set()
        self._items: list[str] = []
        # In UTF-16 each letter of XML's own has one, in UTF-8 none has.
        if b"\0" in content:
            self._refuse("is not written in UTF-8")
        self._parser = parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.XmlDeclHandler = self._check_encoding
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.StartElementHandler = self._start
        parser.CharacterDataHandler = self._text
        parser.EndElementHandler = self._end
        try:
            parser.Parse(content, True)
        except expat.ExpatError as error:
            self._refuse(f"is not well-formed XML ({reason_of(error)})")
        self._check()

    def _check(self) -> None:
        if self._rdf is None:
            self._refuse("has no rdf:RDF in it, as XMP has")
        odd = self._properties & {_SUBJECT, *_PATH_LISTS} - self.keywords.keys()
        for name in sorted(odd):
            self._refuse(f"has {name.split()[-1]} in it, but not as a list of keywords")

    def _refuse(self, what: str) -> None:
        raise InputError(
            f"The sidecar {self._path} {what}; it is left as it is. Repair it, or move it away to "
            "have a new one written."
        )

    def _check_encoding(self, version: str, encoding: str | None, standalone: int) -> None:
        if (encoding or "utf-8").lower() not in ("utf-8", "utf8"):
            self._refuse(f"is written in {encoding}, while UTF-8 is expected")

    def _refuse_doctype(self, *_: object) -> None:
        self._refuse("declares a document type, which XMP does not have")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._open.append((name, self._parser.CurrentByteIndex))
        names = self._names()
        if names[-2:] == [f"{_RDF} RDF", f"{_RDF} Description"]:
            self._about = self._about or attributes.get(f"{_RDF} about", "")
            self._properties |= attributes.keys()
        elif names[-3:-1] == [f"{_RDF} RDF", f"{_RDF} Description"]:
            self._properties.add(name)
        elif name == f"{_RDF} li":
            self._items.append("")
        elif name in _ARRAYS:
            self._items = []

    def _text(self, text: str) -> None:
        if self._open and self._open[-1][0] == f"{_RDF} li" and self._items:
            self._items[-1] += text

    def _end(self, name: str) -> None:
        names = self._names()
        element = _Element(*self._open.pop(), self._parser.CurrentByteIndex)
        if name == f"{_RDF} RDF":
            self._rdf = self._rdf or element
        elif name in _ARRAYS and names[-4:-2] == [f"{_RDF} RDF", f"{_RDF} Description"]:
            self.keywords.setdefault(names[-2], _Keywords(self._items, element))

    def _names(self) -> list[str]:
        return [name for name, _ in self._open[-4:]]

    def with_tags(self, tags: Sequence[str]) -> tuple[list[str], bytes]:
        """Returns the tags that a list did not have, and the file with them."""
        added: dict[str, None] = {}
        insertions: list[tuple[_Element, str]] = []
        for name in (_SUBJECT, *_PATH_LISTS):
            found = self.keywords.get(name)
            if found is None and name != _SUBJECT:
                continue
            new = _missing(tags, found.items if found else [], is_path=name != _SUBJECT)
            added |= dict.fromkeys(new)
            if not new:
                continue
            if found is not None:
                insertions.append((found.element, self._items_of(found.element, new)))
            elif self._rdf is not None:
                insertions.append((self._rdf, self._description(new)))
        content = self._content
        for element, text in sorted(insertions, reverse=True, key=lambda pair: pair[0].start):
            content = _insert(content, element, text.encode())
        return list(added), content

    def _items_of(self, array: _Element, tags: Iterable[str]) -> str:
        prefix = _qualified_name(self._content, array).rpartition(":")
        li = "".join(prefix[:2]) + "li"
        return "".join(f"<{li}>{escape(tag)}</{li}>\n" for tag in tags)

    def _description(self, tags: Iterable[str]) -> str:
        items = "".join(f"   <rdf:li>{escape(tag)}</rdf:li>\n" for tag in tags)
        return (
            f'\n <rdf:Description xmlns:rdf="{_RDF}" rdf:about={quoteattr(self._about)} '
            f'xmlns:dc="{_DC}">\n  <dc:subject>\n   <rdf:Bag>\n{items}   </rdf:Bag>\n'
            "  </dc:subject>\n </rdf:Description>\n"
        )


def _missing(tags: Sequence[str], keywords: Sequence[str], is_path: bool) -> list[str]:
    """Returns the tags that are not among keywords, or not the last parts of paths."""
    leaves = [re.split(r"[|/]", keyword)[-1] if is_path else keyword for keyword in keywords]
    found = {_key(leaf) for leaf in leaves}
    new: dict[str, str] = {}
    for tag in tags:
        if _key(tag) not in found:
            new.setdefault(_key(tag), tag.strip())
    return list(new.values())


def _key(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold().strip()


def _qualified_name(content: bytes, element: _Element) -> str:
    found = _START_TAG.match(content, element.start)
    assert found is not None
    return found[1].decode()


def _insert(content: bytes, element: _Element, text: bytes) -> bytes:
    """Puts text before the end tag of an element; an empty `<a/>` becomes `<a>text</a>`."""
    found = _START_TAG.match(content, element.start)
    assert found is not None
    if found[0].endswith(b"/>"):
        middle = b">" + text + b"</" + found[1] + b">"
        return content[: found.end() - 2] + middle + content[found.end() :]
    return content[: element.end] + text + content[element.end :]
