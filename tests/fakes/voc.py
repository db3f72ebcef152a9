"""A miniature PASCAL VOC in its native layout."""

from pathlib import Path

import numpy as np

from tests.fakes.halves import palette, write_halves

NAMES = [
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
]
_OBJECT = """  <object>
    <name>{name}</name>
    <difficult>{difficult}</difficult>
    <part><name>head</name></part>
  </object>
"""


def write_voc(root: Path, year: int = 2007, count: int = 60, seed: int = 0) -> Path:
    """Writes two parts of `count` pictures; some objects are difficult.

    Each picture has a class in the left half, and another in the right one; of the left class there
    is a second object, so that it can be difficult beside one that is not.
    """
    random = np.random.default_rng(seed)
    colours = palette(NAMES)
    folder = root / "VOCdevkit" / f"VOC{year}"
    main = folder / "ImageSets" / "Main"
    for path in (main, folder / "Annotations", folder / "JPEGImages"):
        path.mkdir(parents=True)
    numbers = iter(range(1, 2 * count + 1))
    for part in ("trainval", "test") if year == 2007 else ("train", "val"):
        lists: dict[str, list[str]] = {name: [] for name in ("", *NAMES)}
        for row in range(count):
            image = f"{next(numbers):06d}"
            # Each class in turn, beside any other.
            other = random.integers(1, len(NAMES))
            left, right = (NAMES[(row + shift) % len(NAMES)] for shift in (0, other))
            difficult = random.random(3) < 0.3
            write_halves(folder / "JPEGImages" / f"{image}.jpg", colours[left], colours[right])
            objects = zip((left, left, right), difficult, strict=True)
            text = "".join(_OBJECT.format(name=n, difficult=int(d)) for n, d in objects)
            xml = f"<annotation>\n  <filename>{image}.jpg</filename>\n{text}</annotation>\n"
            (folder / "Annotations" / f"{image}.xml").write_text(xml)
            values = dict.fromkeys(NAMES, -1) | {
                left: int(not difficult[:2].all()),
                right: int(not difficult[2]),
            }
            lists[""].append(image)
            for name, value in values.items():
                lists[name].append(f"{image} {value:2d}")
        for name, lines in lists.items():
            path = main / (f"{name}_{part}.txt" if name else f"{part}.txt")
            path.write_text("\n".join(lines) + "\n")
    return root
