"""Probabilities, decisions and images out of place, of a tagger with a calibration."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import zsl
from tests.fakes.checkpoints import NORMALISED, write_calibrated, write_checkpoint
from zsl.commands.export import main as export
from zsl.commands.predict import main as predict
from zsl.errors import InputError
from zsl.files.checkpoints import read_checkpoint

LABELS = ["red", "pink", "sky blue"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_calibrated(tmp_path_factory.mktemp("answers"), **NORMALISED)


@pytest.fixture(scope="module")
def images(checkpoint: Path) -> list[Path]:
    return sorted((checkpoint.parents[1] / "photos" / "images").iterdir())[:6]


@pytest.mark.parametrize("normalised", [True, False])
def test_probabilities_are_those_of_the_calibration(tmp_path: Path, normalised: bool) -> None:
    tagger = zsl.Tagger.from_pretrained(
        write_calibrated(tmp_path, **(NORMALISED if normalised else {}))
    )
    paths = sorted((tmp_path / "photos" / "images").iterdir())[:5]
    names, queries = tagger.embed(LABELS)
    logits = torch.cat([tagger.network.score(t, queries) for t in tagger.token_batches(paths)])
    means = torch.zeros(3)
    if normalised:
        prepared = tagger.network.prepare(queries)
        means = prepared.logits(prepared.sample_scores).mean(dim=0)
    seen = tagger.vocabulary.names.index("red")
    for index, (a, b, c) in enumerate([(0.5, 0.2, -0.3 + 0.1 * seen), *[(0.8, 0.1, 0.4)] * 2]):
        expected = (a * logits[:, index] + b * means[index] + c).sigmoid()
        found = [
            dict(zip(*own, strict=True))[names[index]]
            for own in tagger.predict(paths, LABELS, top_k=3)
        ]
        assert found == pytest.approx(expected.tolist(), abs=1e-5)
    raw = tagger.predict(paths, LABELS, top_k=3, raw=True)
    assert sorted(raw[0].scores) == pytest.approx(sorted(logits[0].sigmoid().tolist()), abs=1e-5)


def test_labels_are_kept_that_reach_their_own_thresholds(
    checkpoint: Path, images: list[Path]
) -> None:
    tagger = zsl.Tagger.from_pretrained(checkpoint)
    for goal in ("f1", "precision=0.5"):
        answers = tagger.prepare(tagger.embed(LABELS)[1], goal).answers
        assert answers is not None
        least = dict(zip(LABELS, answers.thresholds.tolist(), strict=True))
        every = tagger.predict(images, LABELS, top_k=3)
        kept = tagger.predict(images, LABELS, decide=goal)
        for before, after in zip(every, kept, strict=True):
            pairs = zip(*before, strict=True)
            assert list(zip(*after, strict=True)) == [(n, p) for n, p in pairs if p >= least[n]]
    assert all(len(own.labels) <= 1 for own in tagger.predict(images, LABELS, 1, decide="f1"))


def test_a_goal_out_of_reach_leaves_no_label(
    checkpoint: Path, images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    tagger = zsl.Tagger.from_pretrained(checkpoint)
    assert all(not own.labels for own in tagger.predict(images, LABELS, decide="precision=0.99"))
    arguments = [f"--checkpoint={checkpoint}", "--labels=red, pink", str(images[0])]
    assert predict([*arguments, "--decide=precision=0.99"]) == 0
    assert "no image gets 'red', 'pink': on the validation images no" in capsys.readouterr().err
    assert predict([*arguments, "--decide=f1"]) == 0
    assert "no image gets" not in capsys.readouterr().err


def test_decisions_need_a_calibration_and_no_other_threshold(
    tmp_path: Path, checkpoint: Path, images: list[Path]
) -> None:
    tagger = zsl.Tagger.from_pretrained(checkpoint)
    with pytest.raises(InputError, match="has a threshold for each label; leave one of them out"):
        tagger.predict(images, LABELS, threshold=0.5, decide="f1")
    with pytest.raises(InputError, match="The goal of decisions is 'recall'; expected f1, or prec"):
        tagger.predict(images, LABELS, decide="recall")
    with pytest.raises(InputError, match="raw scores are asked for, but the thresholds of decide="):
        tagger.predict(images, LABELS, decide="f1", raw=True)
    plain = zsl.Tagger.from_pretrained(write_checkpoint(tmp_path))
    with pytest.raises(InputError, match="no thresholds for 'f1', since no calibration was fitted"):
        plain.predict(images, LABELS, decide="f1")


def test_images_unlike_those_of_the_training_are_told(
    checkpoint: Path,
    images: list[Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = torch.load(checkpoint, weights_only=True)
    tagger = zsl.Tagger.from_pretrained(checkpoint)
    assert not any(tagger.is_unlike(t).any() for t in tagger.token_batches(images))
    familiar = tagger.network.familiar
    assert familiar is not None
    # Each image twice, nearly the same: farther from each other than rounding takes them.
    kept = torch.cat([familiar.describe(t) for t in tagger.token_batches(images)])
    familiar.keep(torch.cat([0.99 * kept + 0.01 * kept.flip(0), kept]))
    state = familiar.state_dict(prefix="network.familiar.")
    torch.save(whole | {"state_dict": whole["state_dict"] | state}, tmp_path / "other.ckpt")
    other = tmp_path / "other.png"
    Image.effect_noise((64, 64), 200).save(other)
    named = [*images[:2], other]
    tagger = zsl.Tagger.from_pretrained(tmp_path / "other.ckpt")
    *_, last = tagger.predict(named, LABELS, decide="f1")
    assert last == ([], [])
    assert "1 of 3 images is unlike those the tagger was trained on" in caplog.text
    arguments = [f"--checkpoint={tmp_path / 'other.ckpt'}", "--labels=red, pink"]
    assert predict([*map(str, named), *arguments, "--format=jsonl"]) == 0
    printed = capsys.readouterr()
    rows = [json.loads(line) for line in printed.out.splitlines()]
    assert [row.get("unlike_training_images", False) for row in rows] == [False, False, True]
    assert all(row["labels"] for row in rows)
    assert f"means little. The first is {other}" in printed.err


def test_labels_unlike_all_that_was_trained_are_told(
    checkpoint: Path, images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = torch.load(checkpoint, weights_only=True)
    whole["state_dict"]["network.calibration.least_similarity"].fill_(1.0)
    torch.save(whole, tmp_path / "strict.ckpt")
    arguments = [f"--checkpoint={tmp_path / 'strict.ckpt'}", "--labels=red, pink", str(images[0])]
    assert predict([*arguments, "--decide=f1"]) == 0
    assert "no label that the tagger was trained on is like 'pink' (most like" in (
        capsys.readouterr().err
    )
    assert predict([*arguments, "--raw=true"]) == 0
    assert "no label" not in capsys.readouterr().err


def test_a_saved_folder_has_the_calibration(
    checkpoint: Path, images: list[Path], tmp_path: Path
) -> None:
    tagger = zsl.Tagger.from_pretrained(checkpoint)
    tagger.save_pretrained(tmp_path / "shared")
    other = zsl.Tagger.from_pretrained(tmp_path / "shared")
    assert other.predict(images, decide="f1") == tagger.predict(images, decide="f1")


def test_labels_built_into_an_export_are_calibrated(checkpoint: Path, tmp_path: Path) -> None:
    arguments = [f"--checkpoint={checkpoint}", "--format=torch_export"]
    assert export([*arguments, "--labels=red, pink", f"--output={tmp_path / 'out'}"]) == 0
    tagger = zsl.Tagger.from_pretrained(checkpoint)
    prepared = tagger.prepare(tagger.embed(["red", "pink"])[1])
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    expected = tagger.score(tagger.tokens(pixels), prepared)[0]
    found = torch.export.load(tmp_path / "out" / "model.pt2").module()(pixels)
    assert torch.allclose(found, expected, atol=1e-4)
    record = json.loads((tmp_path / "out" / "model.json").read_text())
    assert record["calibrated"] is True
    assert record["probabilities"] == "sigmoid"
    assert prepared.answers is not None
    assert record["thresholds"] == {
        "goal": "f1",
        "probabilities": pytest.approx(prepared.answers.thresholds.tolist()),
    }


def test_a_checkpoint_of_before_has_none(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path)
    whole = torch.load(path, weights_only=True)
    own = (".calibration.", ".familiar.")
    state = {k: v for k, v in whole["state_dict"].items() if not any(part in k for part in own)}
    assert len(state) < len(whole["state_dict"])
    torch.save(whole | {"state_dict": state}, path)
    assert zsl.Tagger.from_pretrained(path).prepare(torch.zeros(1, 12)).answers is None
    assert read_checkpoint(path).tensors.keys() == state.keys()
