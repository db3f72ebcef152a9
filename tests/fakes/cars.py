"""Miniature Stanford Cars in torchvision's layout, with MATLAB's files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

NAMES = [
    "AM General Hummer SUV 2000",
    "Acura RL Sedan 2012",
    "Acura TL Sedan 2012",
    "Fisker Karma Sedan 2012",
    "Ram C/V Cargo Van Minivan 2012",
    "smart fortwo Convertible 2012",
]
FIELDS = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname"]


def write_cars(root: Path, num_train: int = 30, num_test: int = 12) -> Path:
    """Writes images and annotations; returns the folder `stanford_cars`."""
    folder = root / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    random = np.random.default_rng(0)
    colours = random.integers(30, 226, (len(NAMES), 3))
    for split, count, file in (
        ("train", num_train, "devkit/cars_train_annos.mat"),
        ("test", num_test, "cars_test_annos_withlabels.mat"),
    ):
        (folder / f"cars_{split}").mkdir()
        classes = [number % len(NAMES) for number in range(count)]
        for number, column in enumerate(classes):
            noise = random.integers(-30, 30, (30, 44, 3))
            image = Image.fromarray((colours[column] + noise).astype(np.uint8))
            image.save(folder / f"cars_{split}" / f"{number + 1:05}.jpg")
        write_annotations(folder / file, [column + 1 for column in classes])
    names = np.array(NAMES, dtype=object)
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": names})
    return folder


def write_annotations(path: Path, classes: Sequence[int]) -> None:
    """Writes annotations of the images `00001.jpg` and so on; classes are counted from 1."""
    rows = [(1, 1, 40, 30, column, f"{n:05}.jpg") for n, column in enumerate(classes, 1)]
    annotations = np.array(rows, dtype=[(name, object) for name in FIELDS])
    savemat(path, {"annotations": annotations[None]})
