"""Every shipped config: fitted on miniature data, evaluated, asked for predictions."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.fakes.miniature import TINY, miniature
from tests.fakes.nuswide import FakeNUSWide
from tests.tasks.test_callbacks import Interrupt, interrupt
from zsl.commands.configs import shipped_names
from zsl.commands.evaluate import main as evaluate
from zsl.commands.fit import main as fit
from zsl.commands.fit_parser import parse_config
from zsl.commands.predict import main as predict

CONFIGS = [name for name in shipped_names() if "/" not in name]
RESUMED = ["shapes.yaml", "table.yaml", "nuswide.yaml", "coco_tresnet_l_448.yaml"]
RESUMED += ["openimages_v6.yaml", "imagenet_resnet50.yaml"]
"""Stopped in mid-epoch besides: each another task, kind of data or recipe."""


@pytest.mark.parametrize("config", CONFIGS)
def test_a_config_fits_evaluates_and_predicts(
    config: str, in_tmp_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [f"--config={config}", *miniature(config, tmp_path), *TINY]
    Interrupt.trained = []
    resume = []
    if config in RESUMED:
        with pytest.raises(SystemExit):
            fit([*arguments, *interrupt(3, "after")])
        resume = ["--ckpt_path=last"]
    run = in_tmp_path / "runs" / config.removesuffix(".yaml") / "latest"
    assert fit([*arguments, *interrupt(-1, "never"), *resume]) == 0
    parsed = parse_config(arguments)
    times = parsed.data.init_args.repeats
    for epoch in range(2):  # No image too often; an incomplete batch is dropped.
        images = [image for at, image in Interrupt.trained if at == epoch]
        assert len(images) >= 16
        assert max(Counter(images).values()) == times
    fitted = json.loads((run / "results.json").read_text())
    text = capsys.readouterr().out
    fixed = parsed.task.endswith("ClassificationTask")
    for group in ("all labels",) if fixed else ("ZSL", "GZSL"):
        assert f"\n{group} " in text
    assert evaluate([f"--checkpoint={run}/checkpoints/best.ckpt"]) == 0
    found = json.loads((run / "checkpoints" / "best_evaluation" / "results.json").read_text())
    assert {name: found[name] for name in fitted} == fitted
    for picture in ("per_class_ap.png", "predictions.png"):
        assert (run / "report" / picture).is_file()
    Image.new("RGB", (40, 30), "red").save("photo.png")
    assert predict([f"--checkpoint={run}/checkpoints/best.ckpt", "photo.png"]) == 0
    assert "photo.png" in capsys.readouterr().out


def test_the_training_sees_the_seen_labels_only(in_tmp_path: Path, tmp_path: Path) -> None:
    """The labels of held-out and unseen classes can be anything: the weights are the same."""
    arguments = ["--config=nuswide.yaml", *miniature("nuswide.yaml", tmp_path), *TINY]
    arguments += ["--data.val_fraction=0.1"]
    weights = []
    for changed in (False, True):
        if changed:
            truth = tmp_path / "nuswide" / "Groundtruth" / "TrainTestLabels"
            for path in truth.glob("*_Train.txt"):
                values = path.read_text().split()
                path.write_text("".join(f"{1 - int(value)}\n" for value in values))
        assert fit([*arguments, "--trainer.max_epochs=1"]) == 0
        checkpoint = torch.load("runs/nuswide/latest/checkpoints/last.ckpt", weights_only=True)
        weights.append(checkpoint["state_dict"])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_missing_images_are_in_the_protocol_of_the_results(
    in_tmp_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--config=nuswide.yaml", *miniature("nuswide.yaml", tmp_path), *TINY]
    fake = FakeNUSWide(tmp_path / "nuswide")
    (fake.root / "Flickr" / fake.images[30]).unlink()
    assert fit(arguments) == 2
    assert "1 of 40 listed images are missing or unreadable" in capsys.readouterr().err
    assert fit([*arguments, "--data.missing=skip"]) == 0
    line = "Test on 15 images. Listed, but missing or unreadable: 1."
    assert line in capsys.readouterr().out
    protocol = json.loads(Path("runs/nuswide/latest/results.json").read_text())["protocol"]
    assert protocol["num_images"] == 15
    assert protocol["num_images_left_out"] == 1
