"""A miniature NUS-WIDE in each of the layouts in which people have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.fakes.table import COLOURS
from zsl.data import ImageConfig, NUSWideDataModule

TAGS = [*COLOURS, "sky", "nature", "water", "clouds"]
CONCEPTS = ["clouds", "sky", "water", "whales"]
NAMES = sorted({*TAGS, *CONCEPTS})
SEEN = [name for name in NAMES if name not in CONCEPTS]
FOLDERS = ["actor", "administrative_assistant", "airplane_flying", "zoo"]
NUM_TRAIN, NUM_TEST = 24, 16


class FakeNUSWide:
    """Draws images and labels; the `write_...` methods lay them out.

    Args:
        root: Where to write to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        random = np.random.default_rng(0)
        count = NUM_TRAIN + NUM_TEST
        self.is_test = np.arange(count) >= NUM_TRAIN
        ids = [174_174_086 + 31 * row for row in range(count)]
        ids[5] = ids[2]  # One photograph in two folders, as in the real lists.
        self.ids = ids
        self.images = [
            f"{FOLDERS[row % 4]}/{row // 4 + 2:04d}_{ids[row]}.jpg" for row in range(count)
        ]
        self.targets = {name: random.random(count) < 0.3 for name in NAMES}
        # As tagged, which is not what the ground truth says.
        self.tagged = {name: random.random(count) < 0.3 for name in CONCEPTS}
        self.colours = [
            random.choice(list(COLOURS), size=2, replace=False).tolist() for _ in range(count)
        ]
        for row, pair in enumerate(self.colours):
            for name in COLOURS:
                self.targets[name][row] = name in pair

    def write_text(self, name: str, lines: list[str], line_end: str = "\n") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes("".join(line + line_end for line in lines).encode())
        return path

    def rgb(self, colour: str, row: int) -> np.ndarray:
        """The colour of half of an image: a little different in each, so that no two are alike."""
        return np.array(COLOURS[colour]) * (1 - row / 80)

    def write_images(self, names: list[str]) -> None:
        for row, name in enumerate(names):
            pixels = np.zeros((30, 40, 3), dtype=np.uint8)
            left, right = self.colours[row]
            pixels[:, :20], pixels[:, 20:] = self.rgb(left, row), self.rgb(right, row)
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path, quality=95)

    def tags(self, rows: np.ndarray) -> list[str]:
        table = {**self.targets, **self.tagged}
        return [" ".join(str(int(table[name][row])) for name in TAGS) + " " for row in rows]

    def write_lists(self) -> None:
        windows = [name.replace("/", "\\") for name in self.images]
        train, test = np.flatnonzero(~self.is_test), np.flatnonzero(self.is_test)
        self.write_text("ImageList/TrainImagelist.txt", [windows[row] for row in train], "\r\n")
        self.write_text("ImageList/TestImagelist.txt", [windows[row] for row in test])
        mixed = np.random.default_rng(1).permutation(len(windows))
        self.write_text("ImageList/Imagelist.txt", [windows[row] for row in mixed], "\r\n")

    def write_official(self) -> FakeNUSWide:
        """Lists, tags, concepts, ground truth and images as the authors' archives have them."""
        self.write_lists()
        self.write_text("NUS_WID_Tags/TagList1k.txt", TAGS, "\r\n")
        self.write_text("ConceptsList/Concepts81.txt", CONCEPTS, "\r\n")
        for split, rows in (
            ("Train", np.flatnonzero(~self.is_test)),
            ("Test", np.flatnonzero(self.is_test)),
        ):
            self.write_text(f"NUS_WID_Tags/{split}_Tags1k.dat", self.tags(rows))
            for name in CONCEPTS:
                values = [str(int(self.targets[name][row])) for row in rows]
                folder = "Groundtruth/TrainTestLabels"
                self.write_text(f"{folder}/Labels_{name}_{split}.txt", values)
        self.write_images([f"Flickr/{name}" for name in self.images])
        return self

    def replace_by_all(self) -> None:
        """Leaves the files of all images in place of those of each split."""
        mixed = np.random.default_rng(1).permutation(len(self.images))
        lines = [
            f"{self.ids[row]}\t{tags}" for row, tags in zip(mixed, self.tags(mixed), strict=True)
        ]
        self.write_text("NUS_WID_Tags/AllTags1k.txt", lines)
        for name in CONCEPTS:
            values = [str(int(self.targets[name][row])) for row in mixed]
            self.write_text(f"Groundtruth/AllLabels/Labels_{name}.txt", values)
        for path in (self.root / "Groundtruth/TrainTestLabels").iterdir():
            path.unlink()
        for split in ("Train", "Test"):
            (self.root / f"NUS_WID_Tags/{split}_Tags1k.dat").unlink()

    def ml_decoder_name(self, row: int) -> str:
        return f"{80_000 + row}_{self.ids[row]}_a0e27{row:05d}_m.jpg"

    def write_ml_decoder(self) -> FakeNUSWide:
        """data.csv with labels as lists, benchmark_81_v0.json, images named in its own way."""
        lines = ["filepath,label,split_name"]
        for row in range(len(self.images)):
            labels = ", ".join(name for name in NAMES if self.targets[name][row])
            split = "val" if self.is_test[row] else "train"
            lines.append(f'images/{self.ml_decoder_name(row)},"[{labels}]",{split}')
        self.write_text("data.csv", lines)
        self.write_text("benchmark_81_v0.json", [json.dumps({"test class": CONCEPTS})])
        self.write_images(
            [f"images/{self.ml_decoder_name(row)}" for row in range(len(self.images))]
        )
        return self

    def write_columns(self, split: bool = True) -> FakeNUSWide:
        """A column for each concept, images named as BiAM and MKT name them."""
        lines = [",".join(["image_id", *(["split"] if split else []), *reversed(NAMES)])]
        names = [name.replace("/", "_") for name in self.images]
        for row, name in enumerate(names):
            values = [str(int(self.targets[label][row])) for label in reversed(NAMES)]
            own_split = ["test" if self.is_test[row] else "train"] if split else []
            lines.append(",".join([name, *own_split, *values]))
        self.write_text("nus_wide.csv", lines)
        self.write_text("ConceptsList/Concepts81.txt", CONCEPTS, "\r\n")
        self.write_images([f"images/{name}" for name in names])
        return self


def load(root: Path, **changes: Any) -> NUSWideDataModule:
    """Opens a copy with small images."""
    quick: dict[str, Any] = {
        "images": ImageConfig(16),
        "batch_size": 4,
        "num_workers": 0,
        "held_out_fraction": 0.3,
        "val_fraction": 0.25,
    }
    return NUSWideDataModule(str(root), **quick | changes)


def edit(path: Path, old: str, new: str) -> None:
    """Replaces the first of some texts in a file."""
    text = path.read_bytes().decode()
    assert old in text
    path.write_bytes(text.replace(old, new, 1).encode())
