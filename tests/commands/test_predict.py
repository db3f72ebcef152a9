"""`python -m zsl.predict`: what it reads, what it writes, what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import zsl
from tests.fakes.checkpoints import COLOUR_TEXTS, write_checkpoint
from tests.fakes.parts import tiny_backbone, tiny_head
from zsl.commands.predict import main as predict
from zsl.errors import InputError
from zsl.files.image_paths import find_images
from zsl.labels import SentenceEncoder

PHOTOS = "photos/images"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run"), head=tiny_head(num_groups=3)).parents[1]


@pytest.fixture
def work(run: Path, in_tmp_path: Path) -> Path:
    """A working directory with twelve photographs in two folders."""
    for number, path in enumerate(sorted((run / PHOTOS).iterdir())[:12]):
        place = Path("album", "nested" if number % 3 == 0 else "", path.name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    return in_tmp_path


def checkpoint(run: Path) -> list[str]:
    return ["--checkpoint", str(run / "checkpoints" / "best.ckpt")]


def test_it_tells_what_the_tagger_predicts(
    run: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = [*checkpoint(run), "album", "--labels", "pink, red,sky blue", "--batch_size=5"]
    paths = find_images(["album"])
    expected = zsl.Tagger.from_pretrained(run / "checkpoints" / "best.ckpt").predict(
        paths, ["pink", "red", "sky blue"], top_k=2
    )
    assert predict([*common, "--top_k=2", "--threshold=None", "--output", "None"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [str(path) for path in paths]
    label, score = expected[0].labels[0], expected[0].scores[0]
    assert lines[0].split("  ")[-1].startswith(f"{label} {score:.3f}, ")

    assert predict([*common, "--top_k=2", "--format=jsonl", "--output=out/tags.jsonl"]) == 0
    assert capsys.readouterr().out == ""
    objects = [json.loads(line) for line in Path("out/tags.jsonl").read_text().splitlines()]
    assert [item["image"] for item in objects] == [str(path) for path in paths]
    for item, prediction in zip(objects, expected, strict=True):
        assert [tag["label"] for tag in item["labels"]] == prediction.labels
        scores = [tag["score"] for tag in item["labels"]]
        assert scores == pytest.approx(prediction.scores, abs=1e-4)


def test_the_checkpoint_has_labels_and_a_file_may(
    run: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict([*checkpoint(run), "album", "--threshold=0", "--format=jsonl"]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert {tag["label"] for tag in first["labels"]} == {
        *("red", "green", "blue", "yellow", "purple", "orange", "white", "black")
    }
    Path("mine.txt").write_text("\ufeffpink\n\n  grey \n", encoding="utf-8")
    assert predict([*checkpoint(run), "album", "--labels=mine.txt", "--format=jsonl"]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert {tag["label"] for tag in first["labels"]} == {"pink", "grey"}
    assert predict([*checkpoint(run), "album/1.png", "--threshold=1", "--labels=red"]) == 0
    assert capsys.readouterr().out == "album/1.png  -\n"


def test_files_folders_and_patterns(work: Path) -> None:
    everything = [str(path) for path in find_images(["album"])]
    assert len(everything) == 12
    assert everything == sorted(everything)
    Path("album/.hidden.png").write_bytes(b"")
    Path("album/notes.txt").write_bytes(b"")
    Path("album/.cache").mkdir()
    Path("album/.cache/1.png").write_bytes(b"")
    assert [str(path) for path in find_images(["album", "album/1.png"])] == everything
    assert {path.name for path in find_images(["album/**/*.png"])} == {
        Path(path).name for path in everything
    }
    assert len(find_images(["alb*"])) == 12
    assert len(find_images(["album/nest*"])) == 4
    assert [str(path) for path in find_images(["album/notes.txt"])] == ["album/notes.txt"]
    Path("album/[1].png").write_bytes(b"")
    assert [path.name for path in find_images(["album/[1].png"])] == ["[1].png"]


def test_what_is_passed_over_in_a_folder_is_told(
    work: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.HEIC", "b.heic", "notes", ".hidden"):
        Path("album", name).write_bytes(b"")
    Path("elsewhere").mkdir()
    Path("elsewhere/c.heic").write_bytes(b"")
    Path("album/link").symlink_to("../elsewhere", target_is_directory=True)
    assert len(find_images(["album"])) == 12
    assert caplog.messages == [
        "Passed over in album: 2 .heic, 1 without suffix, 1 linked folder (album/link). Convert "
        "images of other formats, and name linked folders, to have them read."
    ]
    with pytest.raises(InputError, match=r"elsewhere has no images in it .*, but 1 \.heic"):
        find_images(["elsewhere"])


def test_new_labels_have_the_texts_of_a_file(
    tmp_path: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("texts.yaml").write_text(COLOUR_TEXTS)
    path = write_checkpoint(tmp_path / "run", encoder=SentenceEncoder(texts="texts.yaml"))
    tagger = zsl.Tagger.from_pretrained(path)
    (tokens,) = tagger.token_batches("album/1.png")

    def told(*arguments: str) -> dict[str, float]:
        common = ["--checkpoint", str(path), "album/1.png", "--format=jsonl"]
        assert predict([*common, *arguments]) == 0
        (line,) = capsys.readouterr().out.splitlines()
        return {tag["label"]: tag["score"] for tag in json.loads(line)["labels"]}

    def expected(texts: str, name: str) -> Any:
        query = SentenceEncoder(texts=texts).encode([name])
        return pytest.approx(float(tagger.score(tokens, query)[1]), abs=1e-4)

    found = told("--labels=red, pink")
    assert found == {name: expected("texts.yaml", name) for name in ("red", "pink")}
    Path("mine.csv").write_text("name,text\nPink,not blue\nred,pale blue\n")
    by_mine, of_red = expected("mine.csv", "pink"), expected("texts.yaml", "red")
    assert found["pink"] != by_mine
    Path("texts.yaml").unlink()
    assert told("--labels=red, pink", "--texts=mine.csv") == {"red": of_red, "pink": by_mine}


def test_a_folder_is_searched_for_files_alone(work: Path) -> None:
    """A pipe is left out, a link to nothing is told when it is read, loops are not followed."""
    os.mkfifo("album/pipe.png")
    Path("album/gone.png").symlink_to("nowhere.png")
    Path("album/loop.png").symlink_to("loop.png")
    Path("album/up").symlink_to(".", target_is_directory=True)
    names = [path.name for path in find_images(["album"])]
    assert len(names) == 14
    assert {"gone.png", "loop.png"} < set(names)


def test_unreadable_images_are_skipped_and_listed(
    run: Path, work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow warns of every image.
    Path("album/0 broken.jpg").write_bytes(b"no image")
    whole = Path("album/1.png").read_bytes()
    Path("album/cut.png").write_bytes(whole[: len(whole) // 2])
    assert predict([*checkpoint(run), "album", "--batch_size=1"]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 12
    assert "2 of 14 images were skipped:\n  The image album/0 broken.jpg can't be" in captured.err
    assert "album/cut.png" in captured.err
    assert "Warning" not in captured.err
    only = [*checkpoint(run), "album/0 broken.jpg"]
    assert predict([*only, "--output=none.csv"]) == 2
    assert "error: The image album/0 broken.jpg can't be read (not an image)" in (
        capsys.readouterr().err
    )
    assert predict([*only, "album/cut.png"]) == 2
    assert "error: None of the 2 images can be read; the first: The" in capsys.readouterr().err
    assert not Path("none.csv").exists()


def test_the_checkpoint_is_not_written_over(
    run: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = str(run / "checkpoints" / "best.ckpt")
    assert predict(["--checkpoint", own, "album", "--output", own]) == 2
    assert "which is read; name another file for --output" in capsys.readouterr().err
    assert zsl.Tagger.from_pretrained(own)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.jpg"], "The image nowhere.jpg does not exist"),
        (["albun"], "Did you mean 'album'?"),
        (["x" * 300 + ".jpg"], "x.jpg does not exist; expected a file"),
        (["~no_such_user/1.png"], "The image ~no_such_user/1.png does not exist"),
        (["album/*.jpg"], "The pattern album/*.jpg matches nothing"),
        (["empty"], "The folder empty has no images in it"),
        (["album", "--labels=red, red"], "--labels, label 2: 'red' is there twice"),
        (["album", "--labels=blurple"], "has no vector for the label 'blurple'"),
        (["album", "--labels=none.txt"], "none.txt does not exist"),
        (
            ["album", "--texts=own.yaml"],
            "--texts gives texts to new labels, but --labels names none",
        ),
        (["album", "--labels=pink", "--texts=my.yaml"], "'my.yaml' are neither a file nor one of"),
        (["album", "--labels=pink", "--texts=own.yaml"], "has a text for none of the 1 labels"),
        (["album", "--labels=red", "--texts=own.yaml"], "are embedded by their names alone"),
        (["album", "--labels=red", "--texts=own.yaml", "--output=own.yaml"], "which is read"),
        (["album", "--output=album"], "The output album can't be written (Is a directory)"),
        (["album", "--output=album/1.png"], "The output album/1.png is album/1.png, which is read"),
        (["album/12.png", "--output=album/1.png"], "is an image, which this would overwrite"),
        (["album", "--output=link.csv"], "The output link.csv is album/1.png, which is read"),
        (["album", "--labels=own.txt", "--output=own.txt"], "own.txt is own.txt, which is read"),
        (["album", "--heatmaps=album"], "The folder album holds the images themselves"),
        (["album", "--heatmaps=empty.txt"], "The folder empty.txt can't be made"),
        (["album", "--format=cvs"], "--format is 'cvs'; expected table, csv, jsonl or parquet."),
        (["album", "--top_k=0", "--heatmaps=new/maps"], "top_k is 0; expected 1 or more"),
        (["album", "--top_k=0", "--output=new/tags.csv"], "top_k is 0; expected 1 or more"),
        (["album", "--top_k=many"], "--top_k is 'many'; expected int or null."),
        (["album", "--threshold=nan"], "--threshold is 'nan'; expected float or null."),
        (["album", "--batch_size=0"], "--batch_size is 0; expected 1 or more"),
        (["album", "--format=parquet"], "but --output is not set; name one."),
        (["album", "--images_per_part=9", "--output=new"], "but --format is table; take parquet"),
        (
            ["album", "--format=jsonl", "--images_per_part=0", "--output=new"],
            "--images_per_part is 0; expected 1 or more.",
        ),
        (
            ["album", "--format=parquet", "--output=new", "--heatmaps=maps"],
            "--heatmaps does not go with a folder of parts",
        ),
        (["album", "--format=parquet", "--output=album"], "holds something else than predictions"),
        (["album", "--format=parquet", "--output=own.txt"], "The output own.txt is a file; name a"),
        (["album", "--format=parquet", "--output=new", "--top_k=0"], "top_k is 0; expected 1 or"),
        (["empty", "--format=parquet", "--output=new"], "The folder empty has no images in it"),
    ],
)
def test_one_sentence_for_each_mistake(
    run: Path,
    work: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before an image is read; nothing is left behind."""
    Path("empty").mkdir()
    Path("empty.txt").write_bytes(b"\n")
    Path("own.txt").write_text("red\n")
    Path("own.yaml").write_text("red: the colour of blood\n")
    Path("link.csv").symlink_to("album/1.png")

    def read(*_: object) -> None:
        raise AssertionError("An image was read.")

    monkeypatch.setattr("zsl.inference.image_batches._read", read)
    found = set(Path().rglob("*"))
    assert predict([*checkpoint(run), *arguments]) == 2
    assert set(Path().rglob("*")) == found
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_heat_maps_show_the_labels_told(
    run: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict([*checkpoint(run), "album", "--top_k=2", "--heatmaps=maps"]) == 0
    lines = capsys.readouterr().out.splitlines()
    drawn = sorted(str(path) for path in Path("maps").rglob("*.jpg"))
    assert len(drawn) == 2 * len(lines)
    path, told = lines[0].split(maxsplit=1)
    for rank, pair in enumerate(told.split(", "), 1):
        label = pair.rsplit(" ", 1)[0].replace(" ", "_")
        drawing = Path("maps", Path(path).relative_to("album"), f"{rank}_{label}.jpg")
        assert Image.open(drawing).size == (448, 299 + 28)


def test_heat_maps_show_the_part_that_the_model_sees(
    tmp_path: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cutting = write_checkpoint(tmp_path / "cutting", images={"center_crop": 0.9}).parents[1]
    assert predict([*checkpoint(cutting), "album", "--top_k=1", "--heatmaps=maps"]) == 0
    drawings = [Image.open(path) for path in Path("maps").rglob("*.jpg")]
    assert {drawing.size for drawing in drawings} == {(448, 448 + 28)}


def test_a_tagger_without_heat_maps_draws_nothing(
    tmp_path: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pooled = tiny_backbone(stride=None, pooled=True)
    path = write_checkpoint(tmp_path / "pooled", backbone=pooled).parents[1]
    assert predict([*checkpoint(path), "album", "--heatmaps=maps"]) == 2
    assert "there are no heat maps" in capsys.readouterr().err
    assert not Path("maps").exists()


def test_no_more_than_a_batch_of_scores_is_made(
    run: Path, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the labels are embedded once, whatever the number of batches."""
    shapes: list[torch.Size] = []
    score = zsl.Tagger.score

    def note(self: zsl.Tagger, tokens: torch.Tensor, queries: Any) -> Any:
        shapes.append(tokens.shape)
        return score(self, tokens, queries)

    monkeypatch.setattr(zsl.Tagger, "score", note)
    assert predict([*checkpoint(run), "album", "--batch_size=5"]) == 0
    assert [shape[0] for shape in shapes] == [5, 5, 2]
    assert len(capsys.readouterr().out.splitlines()) == 12


def test_a_reader_may_close_the_pipe(run: Path, work: Path) -> None:
    """As `| head` does."""
    command = [sys.executable, "-m", "zsl.predict", *checkpoint(run), "album/1.png"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
