"""A miniature MS-COCO in its native layout."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.fakes.halves import palette, write_halves
from zsl.data.coco_classes import CLASSES

SHOWN = [
    *("person", "bicycle", "car", "truck", "boat", "bench", "bird", "horse", "chair", "bottle"),
    *("bed", "book", "clock", "vase", "dining table", "cat", "dog", "airplane"),
]
"""The classes that are in pictures; of the last four one is unused and three unseen in 48/17."""
GAPS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
CATEGORY_IDS = [number for number in range(1, 91) if number not in GAPS]


def write_coco(
    root: Path, year: int = 2014, num_train: int = 60, num_test: int = 30, seed: int = 0
) -> Path:
    """Writes pictures with a class in each half; the first of each part has no annotation."""
    random = np.random.default_rng(seed)
    colours = palette(SHOWN)
    for part, count in (("train", num_train), ("val", num_test)):
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        numbers = random.permutation(1000)[:count] + (1000 if part == "val" else 0)
        for row, number in enumerate(numbers.tolist()):
            start = f"COCO_{part}{year}_" if year == 2014 else ""
            name = f"{start}{number:012d}.jpg"
            # Each class in turn, beside any other.
            other = random.integers(1, len(SHOWN))
            pair = [SHOWN[(row + shift) % len(SHOWN)] for shift in (0, other)]
            write_halves(root / f"{part}{year}" / name, colours[pair[0]], colours[pair[1]])
            if images:
                annotations += [_annotation(number, half, pair[half]) for half in (1, 0, 0)]
            images.append({"id": number, "file_name": name, "height": 32, "width": 48})
        for row, annotation in enumerate(annotations):
            annotation["id"] = 7 * row + 3
        content = {
            "info": {"description": f"COCO {year} Dataset", "year": year},
            "images": images,
            "annotations": annotations,
            "categories": [
                {"supercategory": "thing", "id": number, "name": name}
                for number, name in zip(CATEGORY_IDS, CLASSES, strict=True)
            ][::-1],
        }
        path = root / "annotations" / f"instances_{part}{year}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return root


def _annotation(image: int, half: int, name: str) -> dict[str, Any]:
    left = 24.0 * half
    return {
        "image_id": image,
        "category_id": CATEGORY_IDS[CLASSES.index(name)],
        "bbox": [left, 0.0, 24.0, 32.0],
        "area": 768.0,
        "iscrowd": half,
        "segmentation": {"counts": [0, 1536], "size": [32, 48]}
        if half
        else [[left, 0.0, left + 24, 0.0, left + 24, 32.0]],
    }
