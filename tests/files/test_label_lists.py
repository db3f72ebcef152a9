"""Labels as the user of a command names them."""

from pathlib import Path

import pandas as pd
import pytest

from zsl.errors import InputError
from zsl.files.label_lists import read_labels


def test_labels_come_from_the_command_line_or_a_file(in_tmp_path: Path) -> None:
    assert read_labels(" dog , hot dog") == ["dog", "hot dog"]
    text = "\ufeffdog\r\n\n  hot dog \n\n"
    for name in ("words.txt", "words.TXT", "words"):
        Path(name).write_text(text, encoding="utf-8", newline="")
        assert read_labels(name) == ["dog", "hot dog"]


def test_labels_are_read_from_tables_and_json(in_tmp_path: Path) -> None:
    Path("classes.csv").write_text("name, role\nred circle,seen\n\n")
    Path("classes.tsv").write_text("role\tname\nseen\tred circle\n")
    pd.DataFrame({"name": ["red circle"]}).to_parquet("classes.parquet")
    for name in ("names.json", "names.txt", "names"):
        Path(name).write_text('\n["red circle"]')
    for path in sorted(in_tmp_path.iterdir()):
        assert read_labels(path.name) == ["red circle"], path


def test_labels_that_look_alike_are_told(caplog: pytest.LogCaptureFixture) -> None:
    assert read_labels("Wedding, snow, Snow") == ["Wedding", "snow", "Snow"]
    assert caplog.messages == [
        "--labels: 'snow' and 'Snow' differ in case or spaces only; each counts as a label of its "
        "own."
    ]


def test_many_labels_are_not_a_file(in_tmp_path: Path) -> None:
    """Though the system refuses a name of this length."""
    labels = [f"label {number}" for number in range(1000)]
    assert read_labels(",".join(labels)) == labels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--labels, label 1 is empty; name a label"),
        ("red,,blue", "--labels, label 2 is empty"),
        ("red, blue ,red", "--labels, label 3: 'red' is there twice, first at --labels, label 1"),
        ("red,caf\udce9", "--labels, label 2: 'caf.udce9' is not UTF-8"),
        ("twice.txt", "twice.txt, line 4: 'red' is there twice, first at twice.txt, line 1"),
        ("blank.txt", "The file blank.txt has no label in it"),
        ("table.txt", "Each line of table.txt has ',' in it, as those of another format have"),
        ("yaml.txt", "Each line of yaml.txt has '- ' in it"),
        ("wrong.json", "wrong.json is JSON, but not a list of names"),
        ("cut.json", "cut.json begins as JSON does, but can't be read as such"),
        ("tags.csv", "tags.csv has no column 'name' .found: 'label', 'role'."),
        ("none.json", "none.json does not exist"),
        ("none.csv", "The file none.csv does not exist"),
        ("none.txt", "none.txt does not exist"),
        ("folder.txt", "folder.txt can't be read"),
        ("image", "image can't be read"),
    ],
)
def test_one_sentence_for_each_mistake(text: str, message: str, in_tmp_path: Path) -> None:
    Path("twice.txt").write_text("red\n\nblue\nred\n")
    Path("blank.txt").write_text(" \n\n")
    Path("table.txt").write_text("label,role\nred,seen\n")
    Path("yaml.txt").write_text("- red\n- blue\n")
    Path("wrong.json").write_text('{"labels": ["red"]}')
    Path("cut.json").write_text('["red", "bl')
    Path("tags.csv").write_text("label,role\nred,seen\n")
    Path("folder.txt").mkdir()
    Path("image").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError, match="(?s)^" + message.replace("'", ".")) as error:
        read_labels(text)
    assert "\n" not in str(error.value)
