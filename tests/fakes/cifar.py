"""Miniature CIFAR in the layout of the authors: pickled batches and names."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

_FILES = {
    10: ("cifar-10-batches-py", [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]),
    100: ("cifar-100-python", ["train", "test"]),
}
NAMES = [
    "apple",
    "aquarium_fish",
    "baby",
    "bear",
    "beaver",
    "bed",
    "bee",
    "beetle",
    "bicycle",
    "can",
]


def write_cifar(
    root: Path, classes: int = 100, per_batch: int = 40, names: list[str] = NAMES
) -> Path:
    """Writes the batches and returns their folder; each class has a colour, with noise in it.

    Args:
        root: What `CIFARDataModule` takes.
        classes: 10 or 100, for the layout alone.
        per_batch: Images of each file.
        names: Names of the classes.
    """
    folder = root / _FILES[classes][0]
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    colours = random.integers(30, 226, (len(names), 3, 1))
    for file in _FILES[classes][1]:
        labels = [int(n) % len(names) for n in random.permutation(per_batch)]
        noise = random.integers(-30, 30, (per_batch, 3, 1024))
        data = (colours[labels] + noise).astype(np.uint8).reshape(per_batch, 3072)
        batch: dict[str, Any] = {
            "data": data,
            "batch_label": file,
            "filenames": ["a.png"] * per_batch,
        }
        if classes == 100:
            batch |= {"fine_labels": labels, "coarse_labels": [0] * per_batch}
        else:
            batch |= {"labels": labels}
        write_pickle(folder / file, batch)
    meta = {"fine_label_names" if classes == 100 else "label_names": names}
    write_pickle(folder / ("meta" if classes == 100 else "batches.meta"), meta)
    return folder


def write_pickle(path: Path, content: Any) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))
