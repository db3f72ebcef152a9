"""Miniature table datasets."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 200, 30),
    "blue": (30, 30, 220),
    "yellow": (230, 220, 30),
    "purple": (140, 30, 160),
    "orange": (240, 140, 20),
    "white": (250, 250, 250),
    "black": (5, 5, 5),
}
ROLES = ["seen"] * 4 + ["held_out"] * 2 + ["unseen"] * 2


def write_table_dataset(root: Path, num_images: int = 40, seed: int = 0) -> Path:
    """Writes pictures whose halves have a colour each, labels.csv and classes.csv."""
    random = np.random.default_rng(seed)
    (root / "images").mkdir(parents=True)
    names = list(COLOURS)
    rows = ["image,labels,split"]
    for index in range(num_images):
        split = ("train", "train", "val", "test")[index % 4]
        allowed = {"train": 4, "val": 6, "test": 8}[split]
        left, right = random.choice(names[:allowed], size=2, replace=False)
        pixels = np.zeros((32, 48, 3), dtype=np.uint8)
        pixels[:, :24], pixels[:, 24:] = COLOURS[left], COLOURS[right]
        Image.fromarray(pixels).save(root / "images" / f"{index}.png")
        rows.append(f"images/{index}.png,{left}|{right},{split}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    classes = [f"{name},{role}" for name, role in zip(names, ROLES, strict=True)]
    (root / "classes.csv").write_text("\n".join(["name,role", *classes]) + "\n")
    return root
