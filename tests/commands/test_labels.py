import csv
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.fakes.encoders import write_glove
from tests.fakes.nuswide import NAMES, FakeNUSWide
from zsl.commands.labels import describe
from zsl.commands.labels import main as labels
from zsl.errors import InputError
from zsl.evaluation import charts
from zsl.labels import Role, Vocabulary, WordVectors


@pytest.mark.draws
def test_the_labels_of_a_config_are_listed_and_drawn(
    in_tmp_path: Path, fake_nuswide: FakeNUSWide, capsys: pytest.CaptureFixture[str]
) -> None:
    glove = write_glove(in_tmp_path / "glove.txt", NAMES)
    data = [f"--data.root={fake_nuswide.root}", "--data.held_out_fraction=0.2"]
    encoder = [f"--model.encoder.source={glove}"]
    # The backbone of the config would have to be fetched: it is not asked for.
    assert labels(["--config=nuswide.yaml", *data, *encoder, "--output", "out"]) == 0
    text = capsys.readouterr().out
    assert "7 seen labels\n" in text
    assert "4 unseen labels, each above its nearest seen ones\n" in text
    assert "Vocabulary(13 labels: 7 seen, 2 held_out, 4 unseen), vectors of 300 numbers" in text
    with (in_tmp_path / "out" / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["name"] for row in rows) == NAMES
    with Image.open(in_tmp_path / "out" / "labels.png") as picture:
        assert min(picture.size) > 500


def test_texts_are_cut_to_the_terminal_and_whole_in_the_file(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "a small round thing of one colour, without any corner, seen from above"
    Path("texts.yaml").write_text(f"red circle: {text}\n")
    monkeypatch.setenv("COLUMNS", "80")
    assert labels(["--config=shapes.yaml", "--model.encoder.texts=texts.yaml"]) == 0
    *lines, _, _, _, _ = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    (line,) = (line for line in lines if "'red circle' | 'a small" in line)
    assert " … " in line
    with Path("runs/labels/labels.csv").open() as file:
        rows = {row["name"]: row["made_of"] for row in csv.DictReader(file)}
    assert rows["red circle"] == f"'red circle' | '{text}'"


def test_neighbours_are_those_of_a_naive_search(tmp_path: Path) -> None:
    names = [f"w{number:02d}" for number in range(12)]
    vocabulary = Vocabulary(names, ["seen"] * 8 + ["held_out"] + ["unseen"] * 3)
    encoder = WordVectors(str(write_glove(tmp_path / "glove.txt", names)))
    found, vectors = describe(vocabulary, encoder)
    assert torch.equal(vectors, encoder.encode(vocabulary.select(*Role)))
    seen = vocabulary.select(Role.SEEN)
    for row in found.itertuples():
        own = encoder.encode([str(row.name)])[0]
        cosines = {
            name: torch.cosine_similarity(own, encoder.encode([name])[0], dim=0).item()
            for name in seen
            if name != row.name
        }
        best = sorted(cosines, key=lambda name: -cosines[name])[:3]
        assert row.nearest == ", ".join(f"{name} {cosines[name]:.2f}" for name in best)
        assert row.cosine == pytest.approx(cosines[best[0]], abs=1e-5)


def test_mistakes_are_one_sentence(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--config=shape.yaml"], "Did you mean 'shapes.yaml'"),
        (
            ["--config=shapes.yaml", "--model.encoder.scale=big"],
            "model.encoder.scale is 'big'; expected unit_norm, unit_variance or null",
        ),
        (
            ["--config=shapes.yaml", "--model.encoder=WordVectors", "--model.encoder.source=n.txt"],
            "The word vectors n.txt do not exist",
        ),
        (
            ["--config=shapes.yaml", "--model.encoder=WordVectors", "--model.encoder.texts=coco"],
            "There is no argument model.encoder.texts.",
        ),
        (
            ["--config=shapes.yaml", "--model.encoder.texts=mine.yaml"],
            "The label texts 'mine.yaml' are neither a file nor one of the shipped ones",
        ),
    ):
        assert labels(arguments) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("error: ")
        assert message in error
    assert labels(["--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


@pytest.mark.parametrize("roles", [["seen"], ["seen", "unseen"], ["seen", "seen", "unseen"]])
def test_few_labels_are_told_and_drawn(tmp_path: Path, roles: list[str]) -> None:
    names = [f"w{number}" for number in range(len(roles))]
    encoder = WordVectors(str(write_glove(tmp_path / "glove.txt", names)))
    found, vectors = describe(Vocabulary(names, roles), encoder)
    assert all(row.name not in str(row.nearest).split() for row in found.itertuples())
    charts.label_space(found, vectors).savefig(tmp_path / "labels.png")


def test_without_a_seen_label_nothing_is_near(tmp_path: Path) -> None:
    encoder = WordVectors(str(write_glove(tmp_path / "glove.txt", ["a"])))
    with pytest.raises(InputError, match="No label is seen"):
        describe(Vocabulary(["a"], ["unseen"]), encoder)
