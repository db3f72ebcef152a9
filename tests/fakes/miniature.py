"""Arguments that run the shipped configs on data made for them, with tiny models."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from zsl.data import coco_classes, voc

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
