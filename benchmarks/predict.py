"""Pictures per second of zsl.predict, against the backbone's plain forward pass.

python benchmarks/predict.py
python benchmarks/predict.py --images FOLDER --num_images 2000

A tagger with random weights (EfficientNet-Lite0 at 224 px, full decoding or groups) tags the
pictures as the command does, into a CSV; what is spent outside backbone and head is what reading,
resizing and writing cost.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from zsl.image_batches import image_batches
from zsl.image_paths import find_images
from zsl.labels import LabelMatrix
from zsl.prediction_files import make_writer, opened
from zsl.selection import Selection
from zsl.tagger import Tagger

IMAGE_SIZE, WIDTH = 224, 300


def make_tagger(num_labels: int, num_groups: int | None, folder: str) -> Tagger:
    """Makes a tagger of random weights for labels with random vectors."""
    names = [f"label {number}" for number in range(num_labels)]
    vectors = torch.randn(num_labels, WIDTH)
    path = f"{folder}/vectors.npz"
    np.savez(path, vectors=vectors.numpy(), names=np.array(names))
    encoder = LabelMatrix(path)
    encoder.encode(names)
    return Tagger(
        names=names,
        roles=["seen"] * num_labels,
        image_size=IMAGE_SIZE,
        encoder=encoder.recipe,
        model={
            "backbone": "tf_efficientnet_lite0",
            "freeze_backbone": True,
            "num_groups": num_groups,
        },
        label_vectors=vectors,
    )


def write_pictures(folder: Path, number: int) -> Path:
    """Draws JPEG files of 640 x 480 pixels, smooth with a little noise as photographs are."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(number):
        coarse = Image.fromarray(random.integers(0, 256, (15, 20, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((640, 480), Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = (smooth + random.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{index:05d}.jpg", quality=88)
    return folder


class Stopwatch:
    """Adds up the time of parts."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def add(self, part: str, start: float) -> float:
        """Adds the time since `start`; returns the time now."""
        now = time.perf_counter()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - start
        return now


def backbone_alone(tagger: Tagger, num_images: int, batch_size: int) -> float:
    """Pictures per second of the backbone on pixels that are there."""
    images = torch.randint(0, 256, (batch_size, 3, IMAGE_SIZE, IMAGE_SIZE), dtype=torch.uint8)
    tagger.tokens(images)
    start = time.perf_counter()
    for _ in range(num_images // batch_size):
        tagger.tokens(images)
    return num_images // batch_size * batch_size / (time.perf_counter() - start)


def tag(tagger: Tagger, paths: list[Path], batch_size: int, output: Path) -> Stopwatch:
    """Tags the pictures as the command does."""
    watch = Stopwatch()
    names, queries = tagger.ask(None)
    selection = Selection.of(5, None, True)
    with opened(output) as file:
        write = make_writer("csv", file, paths)
        now = time.perf_counter()
        for batch in image_batches(paths, IMAGE_SIZE, batch_size):
            now = watch.add("waiting for pictures", now)
            tokens = tagger.tokens(batch.images)
            now = watch.add("backbone", now)
            predictions = tagger.select(tokens, names, queries, selection)
            now = watch.add("head and selection", now)
            for place, prediction in zip(batch.places, predictions, strict=True):
                write(paths[place], prediction)
            now = watch.add("writing", now)
    watch.add("writing", now)
    return watch


def main() -> None:
    """Prints pictures per second, and the share of each part of the time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", help="A folder (default: drawn pictures, JPEG of 640 x 480).")
    parser.add_argument("--num_images", type=int, default=256)
    parser.add_argument("--num_labels", type=int, default=1006)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        source = options.images or write_pictures(Path(folder, "pictures"), options.num_images)
        paths = find_images([str(source)])[: options.num_images]
        print(f"{len(paths)} pictures, {options.num_labels} labels, {options.threads} threads")
        for kind, num_groups in (("full decoding", None), ("100 groups", 100)):
            tagger = make_tagger(options.num_labels, num_groups, folder)
            alone = backbone_alone(tagger, len(paths), options.batch_size)
            watch = tag(tagger, paths, options.batch_size, Path(folder, "tags.csv"))
            total = sum(watch.seconds.values())
            outside = watch.seconds["waiting for pictures"] + watch.seconds["writing"]
            rate = len(paths) / total
            print(
                f"{kind}: {rate:.1f} pictures/s; backbone alone {alone:.1f}/s "
                f"({rate / alone:.2f} of it); outside backbone and head {outside / total:.0%}"
            )
            for part, seconds in watch.seconds.items():
                print(f"  {part:<22}{seconds:8.2f} s  {seconds / total:5.0%}")


if __name__ == "__main__":
    main()
