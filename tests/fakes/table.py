"""Miniature table datasets."""

from pathlib import Path
from typing import Literal

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


def write_table_dataset(
    root: Path,
    num_images: int = 40,
    seed: int = 0,
    kind: Literal["zero_shot", "fixed", "single_label"] = "zero_shot",
) -> Path:
    """Writes pictures whose halves have a colour each, labels.csv and classes.csv.

    Args:
        root: Folder.
        num_images: Number of pictures; half of them are training images.
        seed: Seed of their colours.
        kind: `zero_shot`; `fixed`: all labels are seen, in all splits; `single_label`: besides,
            both halves have the same colour.
    """
    random = np.random.default_rng(seed)
    (root / "images").mkdir(parents=True)
    names = list(COLOURS)
    rows = ["image,labels,split"]
    for index in range(num_images):
        split = ("train", "train", "val", "test")[index % 4]
        allowed = {"train": 4, "val": 6, "test": 8}[split] if kind == "zero_shot" else len(names)
        left, right = random.choice(names[:allowed], size=2, replace=False)
        right = left if kind == "single_label" else right
        pixels = np.zeros((32, 48, 3), dtype=np.uint8)
        pixels[:, :24], pixels[:, 24:] = COLOURS[left], COLOURS[right]
        Image.fromarray(pixels).save(root / "images" / f"{index}.png")
        labels = "|".join(dict.fromkeys([left, right]))
        rows.append(f"images/{index}.png,{labels},{split}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    roles = ROLES if kind == "zero_shot" else ["seen"] * len(names)
    classes = [f"{name},{role}" for name, role in zip(names, roles, strict=True)]
    (root / "classes.csv").write_text("\n".join(["name,role", *classes]) + "\n")
    return root
