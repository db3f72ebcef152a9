"""Folders of predictions: what is in them whenever a process ends."""

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyarrow import parquet

from zsl.errors import InputError
from zsl.files.atomic import write_atomically
from zsl.inference import prediction_parts
from zsl.inference.prediction_parts import Kind, open_parts
from zsl.inference.prediction_rows import SCHEMA, Row, absolute_text

MADE_WITH: dict[str, Any] = {"checkpoint": "1f", "labels": ["cat", "dog"], "top_k": 5}
KINDS: list[Kind] = ["parquet", "jsonl"]


def row(number: int) -> Row:
    if number % 5 == 0:
        return Row(f"/{number}.jpg", [], [], False, "It is broken.")
    return Row(
        f"/{number}.jpg", ["cat", "dog"][: number % 3], [0.5, 0.25][: number % 3], True, None
    )


def add(folder: Path, kind: Kind, numbers: range, batch: int = 3) -> None:
    with open_parts(folder, kind, 10, MADE_WITH) as parts:
        new = [row(number) for number in numbers if row(number).image not in parts.done]
        for start in range(0, len(new), batch):
            parts.add(new[start : start + batch])


def images(folder: Path, kind: Kind) -> list[str]:
    """In all parts, in their order."""
    found: list[str] = []
    for path in sorted(folder.glob(f"part-*.{kind}")):
        if kind == "parquet":
            found += parquet.read_table(path)["image"].to_pylist()
        else:
            found += [json.loads(line)["image"] for line in path.read_text().splitlines()]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_any_moment_each_image_is_there_once(tmp_path: Path, kind: Kind) -> None:
    """What a killed process leaves is complete parts, and the next one goes on after them."""
    numbers, moment = range(400), random.Random(kind)
    for _ in range(12):
        child = os.fork()
        if child == 0:
            try:
                add(tmp_path / "tags", kind, numbers)
            finally:
                os._exit(0)
        time.sleep(moment.uniform(0, 0.06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if (tmp_path / "tags").exists():
            found = images(tmp_path / "tags", kind)
            assert found == [row(number).image for number in range(len(found))]
    add(tmp_path / "tags", kind, numbers)
    assert images(tmp_path / "tags", kind) == [row(number).image for number in numbers]
    assert not list((tmp_path / "tags").glob(".partial*"))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_added_is_read_back(tmp_path: Path, kind: Kind) -> None:
    folder = tmp_path / "tags"
    add(folder, kind, range(25), batch=5)
    assert sorted(path.name for path in folder.glob("part*")) == [
        f"part-0000{number}.{kind}" for number in range(3)
    ]
    with open_parts(folder, kind, 10, MADE_WITH) as parts:
        assert len(parts.done) == 25
        assert parts.counts == (25, 5, 20)
        parts.add([row(25)])
        assert parts.counts == (26, 6, 20)
    if kind == "parquet":
        table = parquet.read_table(folder)
        assert table.schema == SCHEMA
        assert [Row(**one) for one in table.to_pylist()] == [row(number) for number in range(26)]
        assert len(pd.read_parquet(folder)) == 26
        return
    lines = [
        json.loads(line)
        for path in sorted(folder.glob("part-*"))
        for line in path.read_text().splitlines()
    ]
    assert lines[0] == {"image": "/0.jpg", "labels": [], "error": "It is broken."}
    labels = [{"label": "cat", "score": 0.5}]
    assert lines[1] == {"image": "/1.jpg", "labels": labels, "unlike_training_images": True}


def test_what_is_done_is_kept_when_the_work_fails(tmp_path: Path) -> None:
    def stop() -> None:
        with open_parts(tmp_path, "jsonl", 10, MADE_WITH) as parts:
            parts.add([row(1), row(2)])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert images(tmp_path, "jsonl") == ["/1.jpg", "/2.jpg"]


def test_a_stop_right_after_the_renaming_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = write_atomically

    def stop_after(path: Path, content: bytes) -> None:
        write(path, content)
        if path.name == "part-00000.jsonl":
            monkeypatch.undo()
            raise KeyboardInterrupt

    monkeypatch.setattr(prediction_parts, "write_atomically", stop_after)
    with pytest.raises(KeyboardInterrupt):
        add(tmp_path, "jsonl", range(20), batch=10)
    assert images(tmp_path, "jsonl") == [row(number).image for number in range(10)]


def test_images_of_a_deleted_part_are_done_once_more(tmp_path: Path) -> None:
    add(tmp_path, "jsonl", range(30), batch=10)
    (tmp_path / "part-00001.jsonl").unlink()
    add(tmp_path, "jsonl", range(30), batch=10)
    assert sorted(images(tmp_path, "jsonl")) == sorted(row(number).image for number in range(30))
    assert len(list(tmp_path.glob("part*"))) == 3


@pytest.mark.parametrize(
    ("kind", "changed", "message"),
    [
        (
            "jsonl",
            {"labels": ["cat", "cow"]},
            "predictions with labels 'cat', 'dog', but this run has labels 'cat', 'cow'; give",
        ),
        ("jsonl", {"checkpoint": "2e"}, "with checkpoint 1f, but this run has checkpoint 2e; give"),
        ("jsonl", {"top_k": None}, "with top_k 5, but this run has top_k None; give the same"),
        ("parquet", {}, "with format jsonl, but this run has format parquet; give the same"),
    ],
)
def test_other_predictions_are_refused(
    tmp_path: Path, kind: Kind, changed: dict[str, Any], message: str
) -> None:
    add(tmp_path, "jsonl", range(3))
    with (
        pytest.raises(InputError, match=message),
        open_parts(tmp_path, kind, 10, {**MADE_WITH, **changed}),
    ):
        raise AssertionError("It was opened.")


def test_folders_that_cannot_be_gone_on_with(tmp_path: Path) -> None:
    def refused(folder: Path, message: str) -> None:
        with (
            pytest.raises(InputError, match=message),
            open_parts(folder, "parquet", 10, MADE_WITH),
        ):
            raise AssertionError("It was opened.")

    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").touch()
    refused(other, r"other holds something else than predictions \('mine.txt'\); name a folder")
    assert os.listdir(other) == ["mine.txt"]
    refused(other / "mine.txt", "mine.txt is a file; name a folder")
    folder = tmp_path / "tags"
    with open_parts(folder, "parquet", 10, MADE_WITH):
        refused(folder, "is being written by another process; wait for its end")
    (folder / "part-00000.parquet").write_bytes(b"PAR1")
    refused(
        folder, r"part-00000.parquet can't be read \(.*\); delete it, and its images are tagged"
    )
    (folder / "_predictions.json").write_text("{}")
    refused(folder, "_predictions.json is damaged; name another folder")


def test_names_of_any_bytes_are_told_apart(in_tmp_path: Path) -> None:
    paths = [Path(os.fsdecode(name)) for name in (b"\xff.jpg", b"\xfe.jpg", "\u732b.jpg".encode())]
    assert [absolute_text(path) for path in paths] == [
        f"{in_tmp_path}/{name}" for name in ("\\xff.jpg", "\\xfe.jpg", "\u732b.jpg")
    ]
