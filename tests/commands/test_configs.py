"""Every shipped config: fitted on miniature data, evaluated, asked for predictions."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.fakes.cars import write_cars
from tests.fakes.cifar import write_cifar
from tests.fakes.coco import write_coco
from tests.fakes.encoders import write_glove
from tests.fakes.image_folder import write_imagenet
from tests.fakes.nuswide import NAMES, FakeNUSWide
from tests.fakes.openimages import LABELS, FakeOpenImages
from tests.fakes.table import write_table_dataset
from tests.fakes.towers import write_pair
from tests.fakes.voc import write_voc
from tests.fakes.weights import write_weights
from tests.tasks.test_callbacks import Interrupt, interrupt
from zsl.commands.configs import shipped_names
from zsl.commands.evaluate import main as evaluate
from zsl.commands.fit import main as fit
from zsl.commands.fit_parser import parse_config
from zsl.commands.predict import main as predict
from zsl.data import coco_classes, voc

CONFIGS = [name for name in shipped_names() if "/" not in name]
RESUMED = ["shapes.yaml", "table.yaml", "nuswide.yaml", "coco_tresnet_l_448.yaml"]
RESUMED += ["openimages_v6.yaml", "imagenet_resnet50.yaml"]
"""Stopped in mid-epoch besides: each another task, kind of data or recipe."""
TINY = ["--model.head.embed_dim=16", "--model.head.feedforward_dim=16"]
TINY += ["--data.batch_size=4", "--data.num_workers=0", "--trainer.accelerator=cpu"]
TINY += ["--trainer.max_epochs=2"]
SINGLE_LABEL: dict[str, Callable[[Path], Any]] = {
    "cifar100.yaml": write_cifar,
    "image_folder.yaml": write_imagenet,
    "imagenet_resnet50.yaml": write_imagenet,
    "stanford_cars.yaml": write_cars,
}
"""Writers of their data."""


def miniature(config: str, folder: Path) -> list[str]:
    """Arguments that run a config on data made for it, with a tiny model of the same kind."""
    convolutional = [
        "--model.backbone.name=test_resnet",
        f"--model.backbone.weights={write_weights(folder / 'weights.pt')}",
        "--model.backbone.stride=16",
        "--data.images.size=32",
    ]
    if config == "shapes.yaml":
        sizes = ["--data.num_train=16", "--data.num_val=8", "--data.num_test=8"]
        return [*convolutional, *sizes]
    if config == "table.yaml":
        return [*convolutional, f"--data.root={write_table_dataset(folder / 'photos')}"]
    if config == "table_fixed.yaml":
        root = write_table_dataset(folder / "photos", kind="fixed")
        return [*convolutional, f"--data.root={root}"]
    if config.startswith("coco"):
        return [*convolutional, *miniature_coco(config, folder)]
    if config.startswith("voc"):
        data = [f"--data.root={write_voc(folder / 'voc')}", "--data.val_fraction=0.4"]
        if "zero_shot" in config:
            words = write_words(folder, [*voc.CLASSES.values()])
            data.append(f"--model.encoder.source={words}")
        return [*convolutional, *data]
    if config in SINGLE_LABEL:
        SINGLE_LABEL[config](folder / "data")
        one_process = ["--data.val_fraction=0.2", "--trainer.devices=1"]
        return [*convolutional, *one_process, f"--data.root={folder / 'data'}"]
    if config == "openimages_v6.yaml":
        return [*convolutional, f"--data.root={FakeOpenImages(folder / 'data').write_v6().root}"]
    if config == "openimages_zero_shot.yaml":
        few = ["--data.held_out_fraction=0.2", "--model.head.num_groups=4"]
        glove = write_glove(folder / "glove.txt", list(LABELS.values()))
        paths = [f"--data.root={FakeOpenImages(folder / 'data').write_v4().root}"]
        return [*convolutional, *few, *paths, f"--model.encoder.source={glove}"]
    root = FakeNUSWide(folder / "nuswide").write_official().root
    split = ["--data.val_fraction=0.2", "--data.held_out_fraction=0.2", f"--data.root={root}"]
    if config == "nuswide_clip.yaml":
        weights = write_pair(folder / "pair.pt")
        pair = ["--model.backbone.name=tiny-clip", f"--model.backbone.weights={weights}"]
        return [*pair, *split]
    if config == "nuswide_best.yaml":
        return [*convolutional, *split]
    glove = write_glove(folder / "glove.txt", NAMES)
    return [*convolutional, *split, f"--model.encoder.source={glove}"]


def miniature_coco(config: str, folder: Path) -> list[str]:
    """Real images where they are at hand."""
    shared = os.environ.get("ZSL_SHARED")
    root, year = Path(shared or "") / "data" / "coco_mini", 2017
    if not shared:
        root, year = write_coco(folder / "coco"), 2014
    data = [f"--data.root={root}", f"--data.year={year}", "--data.val_fraction=0.4"]
    if "zero_shot" in config:
        return [*data, f"--model.encoder.source={write_words(folder, coco_classes.CLASSES)}"]
    layers = "--model.backbone.options={layers: [1, 1, 1, 1]}"
    return [*data, layers] if "xl" in config else data


def write_words(folder: Path, names: list[str]) -> Path:
    """Vectors of the words of names."""
    words = sorted({word for name in names for word in name.split()})
    return write_glove(folder / "glove.txt", words)


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
    decisions = [results.pop("decisions") for results in (fitted, found)]
    assert {name: found[name] for name in fitted} == fitted
    # Beside thresholds of the validation, which only the evaluation scores.
    assert [row["rule"] for row in decisions[0]] == [
        row["rule"] for row in decisions[1] if "validation" not in row["rule"]
    ]
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
