"""Texts of labels, such as descriptions and other names: files of them, and the texts of a name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path

import yaml

from zsl.errors import (
    InputError,
    did_you_mean,
    listing,
    others,
    refuse_repeated,
    require,
)
from zsl.files.tables import other_rows, read_table, row_name
from zsl.files.text_files import read_text

_TABLES = (".csv", ".tsv", ".parquet")
_MAPPINGS = (".yaml", ".yml", ".txt", ".json")
_EXPECTED = "a label and its text, or a list of its texts, such as 'dog: a furry animal'"
_STRING = "tag:yaml.org,2002:str"


def shipped_texts() -> list[str]:
    """Names of the shipped files, as `read_texts` takes them."""
    return sorted(path.stem for path in _shipped_folder().glob("*.yaml"))


def read_texts(path_or_name: str | Path) -> dict[str, list[str]]:
    """Reads the texts of labels, one or more each.

    A mapping (`.yaml`, `.yml`, `.txt`, `.json`) has a name and its text, or a list of texts; names
    are taken as they are written, `no` and `2024` too. A table (`.csv`, `.tsv`, `.parquet`) has the
    columns `name` and `text`, and a row for each text.

    Args:
        path_or_name: A file, or the name of a shipped one, such as `coco`; a file wins.

    Raises:
        InputError: There is no such file, it can't be read or has nothing in it, or a text is
            empty, or not a text.
    """
    path = find_texts(path_or_name)
    suffix = path.suffix.lower()
    require(
        suffix in (*_TABLES, *_MAPPINGS),
        f"The label texts {path} end in {path.suffix!r}; expected "
        f"{', '.join((*_MAPPINGS, *_TABLES))}.",
    )
    pairs = list(_table_texts(path) if suffix in _TABLES else _mapping_texts(path))
    texts: dict[str, list[str]] = {}
    for name, text in pairs:
        texts.setdefault(name, []).append(text)
    return texts


def find_texts(path_or_name: str | Path) -> Path:
    """Returns the path of a file, or that of a shipped one.

    Raises:
        InputError: It is neither; near matches are in the message.
    """
    if Path(path_or_name).is_file():
        return Path(path_or_name)
    shipped = shipped_texts()
    if path_or_name in shipped:
        return _shipped_folder() / f"{path_or_name}.yaml"
    raise InputError(
        f"The label texts {str(path_or_name)!r} are neither a file nor one of the shipped ones "
        f"({', '.join(shipped)})." + did_you_mean(str(path_or_name), shipped)
    )


def match_texts(names: Sequence[str], texts: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Returns the texts of each name, none where there are none.

    Where a name is not there as it stands, case counts no more, and `_` and `-` are spaces.
    """
    alike: dict[str, str] = {}
    for name in texts:
        alike.setdefault(_folded(name), name)
    keys = {name: name if name in texts else alike.get(_folded(name), "") for name in names}
    return {name: list(texts.get(key, ())) for name, key in keys.items()}


def read_texts_of(names: Sequence[str], path_or_name: str | Path) -> dict[str, list[str]]:
    """Reads a file, and returns the texts of those names that have any in it.

    Raises:
        InputError: As `read_texts`; or no name has a text.
    """
    texts = read_texts(path_or_name)
    found = {name: own for name, own in match_texts(names, texts).items() if own}
    require(len(found) > 0, none_found(names, texts, path_or_name))
    return found


def none_found(names: Sequence[str], texts: Mapping[str, Sequence[str]], source: object) -> str:
    """Says that none of the names has a text, for an `InputError`."""
    return (
        f"{source} has a text for none of the {len(names)} labels ({listing(names)}), but for "
        f"{listing(texts)}; name the labels as there, or take another file."
        + did_you_mean(names[0], texts)
    )


def _folded(name: str) -> str:
    return " ".join(re.split(r"[\s_-]+", name.casefold())).strip()


def _shipped_folder() -> Path:
    return Path(str(resources.files("zsl.labels"))) / "texts"


def _table_texts(path: Path) -> Iterator[tuple[str, str]]:
    table = read_table(path, ("name", "text"))
    pairs = list(zip(table["name"], table["text"], strict=True))
    if gaps := [row for row, pair in enumerate(pairs) if not all(pair)]:
        raise InputError(
            f"{row_name(path, gaps[0])}: a name or its text is empty; give both."
            + other_rows(path, gaps)
        )
    yield from pairs


def _mapping_texts(path: Path) -> Iterator[tuple[str, str]]:
    entries = _entries(path)
    names = [_characters(path, key).strip() for key, _ in entries]
    lines = [f"{path}, line {_line(key)}" for key, _ in entries]
    if empty := [line for line, name in zip(lines, names, strict=True) if not name]:
        raise InputError(f"{empty[0]}: the label name is empty." + others(empty))
    refuse_repeated(names, lines.__getitem__, "list all of its texts in one place")
    for name, (_, node) in zip(names, entries, strict=True):
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        require(
            len(nodes) > 0,
            f"{path}, line {_line(node)}: the list of texts of the label {name!r} is empty; give "
            "one at least, or leave the label out.",
        )
        for part in nodes:
            yield name, _text(path, name, part)


def _text(path: Path, name: str, node: yaml.Node) -> str:
    where = f"{path}, line {_line(node)}"
    text = " ".join(_characters(path, node).split())
    require(
        text != "" and not node.tag.endswith(":null"),
        f"{where}: a text of the label {name!r} is empty; write one, or leave the label out.",
    )
    require(
        node.tag == _STRING,
        f"{where}: the label {name!r} has {text} for a text; expected a text, or a list of texts; "
        "put quotes around a text that is a number or a word such as yes.",
    )
    return text


def _characters(path: Path, node: yaml.Node) -> str:
    """Returns the text of a node, or what it is instead; JSON escapes some characters as halves."""
    if not isinstance(node, yaml.ScalarNode):
        return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
    try:
        text: str = node.value.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}, line {_line(node)} has half a character in {node.value!r}; write it "
            "whole, as UTF-8."
        ) from error
    return text


def _entries(path: Path) -> list[tuple[yaml.Node, yaml.Node]]:
    """Returns names and texts as nodes, which know their lines and are not made numbers."""
    text = read_text(path, f"YAML, UTF-8, with {_EXPECTED}")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).replace('in "<unicode string>", ', "in ").split())
        raise InputError(
            f"{path} is not YAML: {reason}; put quotes around a text that has ': ' in it."
        ) from error
    if root is None or not root.value:
        raise InputError(f"{path} has nothing in it; expected in each line {_EXPECTED}.")
    require(
        isinstance(root, yaml.MappingNode),
        f"{path} holds {'a list' if isinstance(root, yaml.SequenceNode) else 'a text'}, not label "
        f"names with their texts; expected in each line {_EXPECTED}.",
    )
    for key, _ in root.value:
        require(
            isinstance(key, yaml.ScalarNode),
            f"{path}, line {_line(key)}: a list or a mapping stands where a label name should.",
        )
    return list(root.value)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
