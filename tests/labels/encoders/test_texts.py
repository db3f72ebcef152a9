"""Files of label texts: what is read, and what is refused."""

import json
from pathlib import Path

import pytest

from zsl.errors import InputError
from zsl.labels.encoders.texts import match_texts, read_texts, shipped_texts


@pytest.mark.parametrize("suffix", ["yaml", "YML", "txt"])
def test_a_mapping_has_texts_or_lists_of_them(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"texts.{suffix}"
    path.write_bytes(
        "\ufeff# Animals\r\ndog: barks\r\n'polar bear': [white,  on  ice ]\r\n"
        "café: |\r\n  of two\r\n  lines\r\n".encode()
    )
    assert read_texts(path) == {
        "dog": ["barks"],
        "polar bear": ["white", "on ice"],
        "café": ["of two lines"],
    }


def test_names_that_yaml_takes_for_something_else_stay_names(tmp_path: Path) -> None:
    path = tmp_path / "texts.yaml"
    path.write_text("no: a sign\n2024: a year\nnull: nothing\n1.50: a price\n")
    assert list(read_texts(path)) == ["no", "2024", "null", "1.50"]


def test_a_json_file_and_tables_are_read(tmp_path: Path) -> None:
    expected = {"dog": ["barks, loudly", "pet"], "cat": ["purrs"]}
    (tmp_path / "a.json").write_text('{"dog": ["barks, loudly", "pet"],\n"cat": "purrs"}')
    assert read_texts(tmp_path / "a.json") == expected
    (tmp_path / "c.json").write_text(json.dumps({"\U0001f436": "a \U0001f415"}))
    assert read_texts(tmp_path / "c.json") == {"\U0001f436": ["a \U0001f415"]}
    (tmp_path / "b.csv").write_text('text,name\n"barks, loudly",dog\npurrs,cat\npet,dog\n')
    assert read_texts(str(tmp_path / "b.csv")) == expected


def test_every_shipped_file_can_be_read() -> None:
    assert {"coco", "nuswide", "shapes"} <= {*shipped_texts()}
    for name in shipped_texts():
        assert len(read_texts(name)) >= 10


def test_names_match_as_they_stand_then_alike() -> None:
    texts = {"polar_bear": ["a"], "Polar Bear": ["b"], "T-shirt": ["c"]}
    names = ["polar_bear", "Polar Bear", "polar  bear", "t shirt", "tshirt", ""]
    assert match_texts(names, texts) == {
        "polar_bear": ["a"],
        "Polar Bear": ["b"],
        "polar  bear": ["a"],
        "t shirt": ["c"],
        "tshirt": [],
        "": [],
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.yaml", b"", "has nothing in it; expected in each line a label and its text"),
        ("a.yaml", b"# only\n", "has nothing in it"),
        ("a.yaml", b"{}", "has nothing in it"),
        ("a.yaml", b"- dog\n- cat\n", "holds a list, not label names with their texts"),
        ("a.txt", b"dog\ncat\n", "holds a text, not label names with their texts"),
        ("a.yaml", b"dog: barks\ncat: a pet: purrs\n", "line 2, column 11: .*; put quotes"),
        ("a.yaml", b"dog: [barks\n", "is not YAML"),
        ("a.yaml", b"[" * 500, "is not YAML"),
        ("a.yaml", b"dog: barks\ncat:\n", "line 2: a text of the label 'cat' is empty"),
        ("a.yaml", b"dog: [barks, ' ']\n", "line 1: a text of the label 'dog' is empty"),
        ("a.yaml", b"dog: barks\ncat: []\n", "line 2: the list of texts of the label 'cat' is"),
        ("a.yaml", b"dog: 7\n", "line 1: the label 'dog' has 7 for a text; expected a text, or"),
        ("a.yaml", b"dog: [[barks]]\n", "the label 'dog' has a list for a text"),
        ("a.yaml", b"a: b\ndog:\n  x: barks\n", "line 3: the label 'dog' has a mapping for a text"),
        ("a.yaml", b"' ': barks\n", "line 1: the label name is empty"),
        ("a.yaml", b"? [a, b]\n: barks\n", "line 1: a list or a mapping stands where a label name"),
        ("a.yaml", b"dog: a\ncat: b\ndog: c\n", "line 3: 'dog' is there twice, first at .*line 1"),
        ("a.yaml", b"dog: barks\ncaf\xe9: drink\n", "line 2 is not UTF-8"),
        ("a.json", b'{"dog": "\\ud83d"}', r"line 1 has half a character in '\\ud83d'"),
        ("a.csv", b"label,text\ndog,barks\n", "has no column 'name'"),
        ("a.csv", b"name,text\n", "has no rows below its header"),
        ("a.csv", b"name,text\ndog,barks\ncat,\n", "line 3: a name or its text is empty"),
        ("a.docx", b"dog: barks", r"end in '\.docx'; expected \.yaml, \.yml, \.txt"),
    ],
)
def test_bad_files_are_one_sentence(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_texts(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
