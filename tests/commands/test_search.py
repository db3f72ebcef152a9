"""`python -m zsl.search`: what it finds, what it writes, what it refuses."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import zsl
from tests.fakes.checkpoints import COLOUR_TEXTS, write_checkpoint
from tests.fakes.parts import tiny_backbone
from zsl.commands.search import main as search
from zsl.inference.gallery import Gallery
from zsl.labels import SentenceEncoder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    backbone = tiny_backbone(stride=None, frozen=True)
    return write_checkpoint(tmp_path_factory.mktemp("run"), backbone=backbone).parents[1]


@pytest.fixture
def common(run: Path, in_tmp_path: Path) -> list[str]:
    """Arguments, in a working directory with an album of twelve images."""
    for path in sorted((run / "photos" / "images").iterdir())[:12]:
        Path("album").mkdir(exist_ok=True)
        shutil.copy(path, "album")
    return ["--checkpoint", str(run / "checkpoints" / "best.ckpt"), "--index=index"]


def test_it_tells_the_best_images_of_each_label(
    run: Path, common: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    tagger = zsl.Tagger.from_pretrained(run / "checkpoints" / "best.ckpt")
    gallery = Gallery(tagger, sorted(Path("album").iterdir()))
    expected = {
        match.label: [
            (str(gallery.sources[index]), score) for index, score in zip(*match[1:], strict=True)
        ]
        for match in gallery.best(["pink", "red"], 3)
    }
    asked = [*common, "--labels=pink, red", "--top_k=3", "album"]
    assert search(asked) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        line
        for label, images in expected.items()
        for line in [label, *(f"  {score:.3f}  {path}" for path, score in images)]
    ]
    assert "12 added" not in captured.out

    assert search([*asked, "--format=csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["rank"] for row in rows] == ["1", "2", "3"] * 2
    for label, images in expected.items():
        found = [(row["image"], float(row["score"])) for row in rows if row["label"] == label]
        assert found == [(path, pytest.approx(score, abs=2e-5)) for path, score in images]

    assert search([*asked, "--format=jsonl", "--output=out/found.jsonl"]) == 0
    assert capsys.readouterr().out == ""
    objects = [json.loads(line) for line in Path("out/found.jsonl").read_text().splitlines()]
    assert {item["label"]: [image["image"] for image in item["images"]] for item in objects} == {
        label: [path for path, _ in images] for label, images in expected.items()
    }


@pytest.mark.parametrize("compact", ["false", "true"])
def test_images_and_labels_unlike_those_of_the_training_are_told(
    common: list[str], compact: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tagger = zsl.Tagger.from_pretrained(common[1])
    images = sorted(Path("album").iterdir())
    familiar = tagger.network.familiar
    calibration = tagger.network.calibration
    assert familiar is not None
    assert calibration is not None
    familiar.keep(torch.cat([familiar.describe(t) for t in tagger.token_batches(images)]))
    familiar.distances.fill_(1e-5)  # More than is rounded.
    calibration.weights.fill_(1)
    calibration.least_similarity.fill_(1)
    tagger.save_pretrained("strict")
    Image.effect_noise((64, 64), 200).save("album/other.png")
    asked = ["--checkpoint=strict", "--index=index", f"--compact={compact}", "--labels=red, pink"]
    assert search([*asked, "--top_k=13", "album"]) == 0
    captured = capsys.readouterr()
    marked = [line for line in captured.out.splitlines() if "(unlike the training" in line]
    assert len(marked) == 2
    assert all("other.png" in line for line in marked)
    assert "1 of 13 images is unlike those the tagger was trained on" in captured.err
    assert "no label that the tagger was trained on is like 'pink' (most" in captured.err
    assert search([*asked, "--top_k=13", "--format=jsonl"]) == 0
    for line in capsys.readouterr().out.splitlines():
        (other,) = [i for i in json.loads(line)["images"] if i.get("unlike_training_images")]
        assert other["image"].endswith("other.png")


def test_the_images_of_the_index_are_searched_or_those_that_are_named(
    common: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert search([*common, "album"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    shutil.rmtree("album/")
    assert search([*common, "--labels=pink", "--format=jsonl", "--top_k=20"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert (
        sorted(Path(item["image"]).parent for item in json.loads(line)["images"])
        == [Path("album").absolute()] * 12
    )


def test_only_the_images_named_are_searched(
    common: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = sorted(map(str, Path("album").iterdir()))[:2]
    assert search([*common, "album"]) == 0
    assert search([*common, "--labels=pink", one, other]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split("  ")[-1] for line in lines[1:]) == [one, other]


def test_new_labels_have_the_texts_of_a_file(
    tmp_path: Path, common: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("texts.yaml").write_text(COLOUR_TEXTS)
    Path("own.yaml").write_text("pink: the colour of flamingos\n")
    path = write_checkpoint(tmp_path / "run", encoder=SentenceEncoder(texts="texts.yaml"))
    asked = ["--checkpoint", str(path), "--index=index", "album", "--labels=pink", "--top_k=1"]
    tagger = zsl.Tagger.from_pretrained(path)
    for texts in (None, "own.yaml"):
        if texts:
            tagger.add_texts({"pink": "the colour of flamingos"})
        assert search([*asked, *([f"--texts={texts}"] if texts else [])]) == 0
        _, line = capsys.readouterr().out.splitlines()
        score, image = line.split()
        (prediction,) = tagger.predict(image, ["pink"])
        assert float(score) == pytest.approx(prediction.scores[0], abs=6e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "There is nothing to do; name --labels to search for, images for the index, or both"),
        (["--labels=pink"], "The folder index does not exist; name images to make an index of."),
        (["--labels=blurple", "album"], "has no vector for the label 'blurple'"),
        (["--labels=pink, pink", "album"], "--labels, label 2: 'pink' is there twice"),
        (["--labels=pink", "albun"], "Did you mean 'album'?"),
        (["--labels=pink", "album", "--index=album"], "album exists and is not an index of images"),
        (["--labels=pink", "album", "--top_k=0"], "--top_k is 0; expected 1 or more."),
        (["--labels=pink", "album", "--batch_size=0"], "--batch_size is 0; expected 1 or more."),
        (["album", "--output=found.csv"], "--output is of the labels that are searched for, but"),
        (["album", "--texts=own.yaml"], "--texts is of the labels that are searched for, but"),
        (["--labels=pink", "album", "--output=album/1.png"], "which is read; name another file"),
        (["--labels=own.txt", "album", "--output=own.txt"], "own.txt is own.txt, which is read"),
        (["--labels=pink", "album", "--format=cvs"], "--format is 'cvs'; expected table, csv or"),
    ],
)
def test_one_sentence_for_each_mistake(
    common: list[str],
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before an image is read; nothing is left behind."""
    Path("own.txt").write_text("pink\n")

    def read(*_: object) -> None:
        raise AssertionError("An image was read.")

    monkeypatch.setattr("zsl.inference.image_batches._read", read)
    found = set(Path().rglob("*"))
    assert search([*common, *arguments]) == 2
    assert set(Path().rglob("*")) == found
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_the_output_is_not_written_over_the_index(
    common: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert search([*common, "album"]) == 0
    output = "--output=index/00000.safetensors"
    assert search([*common, "--labels=pink", output]) == 2
    assert "which is read; name another file for --output" in capsys.readouterr().err
    assert search([*common, "--labels=pink"]) == 0
