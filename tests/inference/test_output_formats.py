"""What is written of predictions, and where to."""

import json
import os
import sys
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path

import pytest

from zsl.errors import InputError
from zsl.inference.output_formats import make_writer, open_output
from zsl.inference.prediction import Prediction

PREDICTIONS = {
    Path("a.png"): Prediction(["hot dog", 'a "b", c'], [0.123456789, 0.1]),
    Path("nested/b.png"): Prediction([], []),
    Path("caf\udce9.png"): Prediction(["猫"], [1.0]),
}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "table",
            [
                'a.png         hot dog 0.123, a "b", c 0.100',
                "nested/b.png  -",
                "caf\ufffd.png      猫 1.000",
            ],
        ),
        (
            "csv",
            [
                "image,rank,label,score",
                "a.png,1,hot dog,0.123457",
                'a.png,2,"a ""b"", c",0.1',
                "caf\ufffd.png,1,猫,1",
            ],
        ),
        (
            "jsonl",
            [
                '{"image": "a.png", "labels": [{"label": "hot dog", "score": 0.123457}, '
                '{"label": "a \\"b\\", c", "score": 0.1}]}',
                '{"image": "nested/b.png", "labels": []}',
                '{"image": "caf\ufffd.png", "labels": [{"label": "猫", "score": 1.0}]}',
            ],
        ),
    ],
)
def test_each_format_tells_labels_and_scores(kind: str, expected: list[str]) -> None:
    file = StringIO()
    write = make_writer(kind, file, list(PREDICTIONS))
    for path, prediction in PREDICTIONS.items():
        write(path, prediction, False)
    assert file.getvalue().splitlines() == expected


def test_an_image_unlike_those_of_the_training_is_told() -> None:
    texts = {}
    for kind in ("table", "jsonl"):
        file = StringIO()
        make_writer(kind, file, [Path("a.png")])(Path("a.png"), Prediction(["cat"], [0.5]), True)
        texts[kind] = file.getvalue()
    assert texts["table"] == "a.png  cat 0.500  (unlike the training images)\n"
    assert json.loads(texts["jsonl"])["unlike_training_images"] is True


def test_control_characters_reach_no_terminal() -> None:
    path, prediction = Path("a\x1b.png"), Prediction(["do\x1bg\u202e\n"], [1.0])

    def written(kind: str, is_terminal: bool) -> str:
        file = StringIO()
        file.isatty = lambda: is_terminal  # type: ignore[method-assign]
        make_writer(kind, file, [path])(path, prediction, False)
        return file.getvalue()

    assert written("table", False) == "a\\x1b.png  do\\x1bg\\u202e\\n 1.000\n"
    assert "a\\x1b.png,1,do\\x1bg\\u202e\\n,1\n" in written("csv", True)
    assert 'a\x1b.png,1,"do\x1bg\u202e\n",1\n' in written("csv", False)
    line = written("jsonl", False)
    assert line[:-1].isprintable()
    assert json.loads(line)["labels"][0]["label"] == prediction.labels[0]


def test_a_file_appears_whole_or_not_at_all(in_tmp_path: Path) -> None:
    path = Path("new", "tags.csv")
    with open_output(path) as file:
        file.write("猫\n")
        assert not path.exists()
    assert path.read_bytes() == "猫\n".encode()
    with pytest.raises(ZeroDivisionError), open_output(path) as file:
        file.writelines(f"{1 / number}" for number in (1, 0))
    assert path.read_text(encoding="utf-8") == "猫\n"
    assert os.listdir("new") == ["tags.csv"]


def test_links_and_pipes_stay_what_they_are(in_tmp_path: Path) -> None:
    Path("link.csv").symlink_to("real.csv")
    with open_output(Path("link.csv")) as file:
        file.write("a")
    assert Path("link.csv").is_symlink()
    assert Path("real.csv").read_text() == "a"
    reader, writer = os.pipe()  # As of the shell's >(...).
    with open_output(Path(f"/dev/fd/{writer}")) as file:
        file.write("b")
    assert os.read(reader, 9) == b"b"
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("folder", "Is a directory"),
        ("file/tags.csv", "Not a directory"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_written_is_refused_at_once(
    in_tmp_path: Path, name: str, reason: str
) -> None:
    Path("folder").mkdir()
    Path("file").touch()
    message = rf"The output {name} can't be written \({reason}\); name another file."
    with pytest.raises(InputError, match=message), open_output(Path(name)):
        raise AssertionError("It was opened.")


def test_characters_that_standard_output_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(BytesIO(), encoding="ascii"))
    message = "Standard output is ascii, which has no '猫'; name a file"
    with pytest.raises(InputError, match=message), open_output(None) as file:
        file.write("猫")
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(InputError, match="There is no standard output"), open_output(None):
        pass
