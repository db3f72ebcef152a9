"""`zsl.predict` into a folder of parts: what it writes, goes on with and tells."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import zsl
from tests.fakes.checkpoints import write_checkpoint
from tests.fakes.threads import run_command
from zsl.commands import tagging
from zsl.commands.predict import main as predict
from zsl.files.image_paths import find_images

COMMON = ["--batch_size=2", "--format=parquet", "--output=tags"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run"))


@pytest.fixture
def arguments(checkpoint: Path, in_tmp_path: Path) -> list[str]:
    """Of a command in a folder with an album of twelve photographs, one of them broken."""
    Path("album").mkdir()
    for path in sorted((checkpoint.parents[1] / "photos" / "images").iterdir())[:11]:
        Path("album", path.name).write_bytes(path.read_bytes())
    Path("album", "broken.png").write_bytes(b"no image")
    return ["--checkpoint", str(checkpoint), "--labels=pink, red", "album", *COMMON]


def test_a_folder_of_parquet_files(
    arguments: list[str], checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the tagger predicts, in the order of the files."""
    assert predict([*arguments, "--images_per_part=5"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "note: 1 of 12 images in tags can't be read; the column error says why." in captured.err
    parts = sorted(Path("tags").glob("part-*"))
    assert [len(pd.read_parquet(part)) for part in parts] == [5, 5, 2]
    table = pd.read_parquet("tags")
    paths = [path.resolve() for path in find_images(["album"])]
    assert list(table["image"]) == [str(path) for path in paths]
    is_broken = table["error"].notna()
    (told,) = table["error"][is_broken]
    assert "broken.png can't be read (not an image)" in told
    readable = table[~is_broken]
    expected = zsl.Tagger.from_pretrained(checkpoint).predict(
        list(readable["image"]), ["pink", "red"]
    )
    assert [list(labels) for labels in readable["labels"]] == [one.labels for one in expected]
    for scores, prediction in zip(readable["scores"], expected, strict=True):
        assert list(scores) == pytest.approx(prediction.scores, abs=1e-6)
    assert not table["unlike_training_images"].any()


def test_only_what_is_new_is_read(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also from another working directory; the broken one is not tried again."""
    assert predict(arguments) == 0
    new = Path("album", "0 new.png")
    new.write_bytes(Path("album", "1.png").read_bytes())
    read: list[str] = []
    read_bytes = Path.read_bytes

    def note(path: Path) -> bytes:
        read.append(path.name)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", note)
    monkeypatch.chdir("album")
    moved = [*arguments, "--output=../tags"]
    moved[moved.index("album")] = "."
    capsys.readouterr()
    assert predict(moved) == 0
    assert "note: 12 of 13 images are in ../tags already." in capsys.readouterr().err
    assert [name for name in read if name.endswith(".png")] == ["0 new.png"]
    table = pd.read_parquet("../tags")
    assert len(table) == table["image"].nunique() == 13
    assert predict(moved) == 0
    assert len(list(Path("../tags").glob("part-*"))) == 2


def test_lines_of_json_are_those_of_a_single_file(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """But that paths are absolute, and the broken image has a line."""
    Path("album/broken.png").unlink()
    assert predict([*arguments, "--format=jsonl", "--images_per_part=4"]) == 0
    lines = [
        line
        for part in sorted(Path("tags").glob("part-*"))
        for line in part.read_text().splitlines()
    ]
    assert len(list(Path("tags").glob("part-*"))) == 3
    single = [*arguments, "--format=jsonl", "--output=single.jsonl"]
    assert predict(single) == 0
    expected = [json.loads(line) for line in Path("single.jsonl").read_text().splitlines()]
    assert [json.loads(line) for line in lines] == [
        {**one, "image": os.path.abspath(one["image"])} for one in expected
    ]


def test_other_labels_or_another_checkpoint_are_refused(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(arguments) == 0
    found = {path: path.read_bytes() for path in Path("tags").iterdir()}
    other = write_checkpoint(tmp_path / "other", image_size=96)
    for change, message in (
        (["--labels=pink, grey"], "with labels 'pink', 'red', but this run has labels 'pink', 'gr"),
        (["--threshold=0.5"], "with top_k 5, threshold None, but this run has top_k None, thresh"),
        (["--checkpoint", str(other)], "with checkpoint "),
    ):
        capsys.readouterr()
        assert predict([*arguments, *change]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.startswith("error: The folder tags holds predictions with ")
        assert error.endswith("same arguments as before, or name another folder for --output.\n")
    assert {path: path.read_bytes() for path in Path("tags").iterdir()} == found


def test_processes_write_the_parts_of_one(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*arguments, "--images_per_part=5"]
    assert predict(arguments) == 0
    assert run_command(monkeypatch, predict, [*arguments, "--output=together"]) == 0
    for path in Path("tags").iterdir():
        assert path.read_bytes() == Path("together", path.name).read_bytes()


def test_processes_write_the_file_of_one(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tagging, "_MOST_BATCHES", 2)
    arguments = [*arguments, "--format=csv", "--heatmaps=alone", "--output=alone.csv"]
    assert predict(arguments) == 0
    together = [*arguments, "--heatmaps=together", "--output=together.csv"]
    assert run_command(monkeypatch, predict, together) == 0
    assert Path("together.csv").read_bytes() == Path("alone.csv").read_bytes()
    maps = [path.relative_to("alone") for path in Path("alone").rglob("*.jpg")]
    assert len(maps) == 2 * 11
    for path in maps:
        assert Path("together", path).read_bytes() == Path("alone", path).read_bytes()


def test_no_readable_image_is_a_mistake(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments[arguments.index("album")] = "album/broken.png"
    assert predict(arguments) == 2
    assert "error: None of the 1 images in tags can be read; the column" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_killed_and_run_again_each_image_is_there_once(devices: int, arguments: list[str]) -> None:
    """The command itself; `test_prediction_parts.py` has the moments."""
    content = Path("album/1.png").read_bytes()
    for number in range(600):
        Path("album", f"copy {number}.png").write_bytes(content)
    arguments = [*arguments, "--images_per_part=4"]
    command = [sys.executable, "-m", "zsl.predict", *arguments, f"--devices={devices}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        while not list(Path("tags").glob("part-*")) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.3))
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert 0 < len(pd.read_parquet("tags")) < 612
    assert predict(arguments) == 0
    table = pd.read_parquet("tags")
    assert sorted(table["image"]) == sorted(
        os.path.abspath(path) for path in find_images(["album"])
    )
