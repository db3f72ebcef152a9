"""Images per second of zsl.predict and of ONNX Runtime, against the backbone alone.

python benchmarks/predict.py
python benchmarks/predict.py --images FOLDER --num_images 2000
python benchmarks/predict.py --index 100000 --compact --checkpoint best.ckpt

A tagger with random weights (EfficientNet-Lite0 at 224 px, full decoding or groups) tags the
images as the command does, into a CSV; what is spent outside backbone and head is what reading,
resizing and writing cost. The same images are then tagged by its export in ONNX Runtime, with
the label vectors as an input and built in.

With --index the images are made into an index (zsl.search), and random tokens of their size stand
for as many more as are asked for: how long it takes to find the best images of words that are asked
one by one or together, and the most memory. Tokens read from a disk rather than from the system's
cache take longer, by their size over its speed.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image
from torch import Tensor

from zsl.files.class_paths import describe_part
from zsl.files.image_paths import find_images
from zsl.inference.export_formats import export_tagger
from zsl.inference.gallery import Gallery
from zsl.inference.image_batches import image_batches
from zsl.inference.output_formats import make_writer, open_output
from zsl.inference.prediction import Prediction, Selection
from zsl.inference.tagger import Tagger
from zsl.inference.token_index import ImageFile, TokenIndex
from zsl.labels import LabelMatrix
from zsl.models import MLDecoderConfig, TaggerNetwork, TimmBackboneConfig

IMAGE_SIZE, WIDTH = 224, 300


def make_tagger(
    num_labels: int,
    num_groups: int | None,
    folder: str,
    backbone_name: str = "tf_efficientnet_lite0",
) -> Tagger:
    """Makes a tagger of random weights for labels with random vectors."""
    names = [f"label {number}" for number in range(num_labels)]
    vectors = torch.randn(num_labels, WIDTH)
    path = f"{folder}/vectors.npz"
    np.savez(path, vectors=vectors.numpy(), names=np.array(names))
    encoder = LabelMatrix(path)
    encoder.encode(names)
    backbone = TimmBackboneConfig(backbone_name, weights=None, frozen=True)
    head = MLDecoderConfig(num_groups)
    return Tagger(
        names=names,
        roles=["seen"] * num_labels,
        image_size=IMAGE_SIZE,
        encoder=encoder.recipe,
        model={"backbone": describe_part(backbone), "head": describe_part(head)},
        scores_are_log_odds=True,
        label_encoder=encoder,
        network=TaggerNetwork.make(backbone, head, IMAGE_SIZE, vectors, num_labels),
    )


def write_images(folder: Path, number: int) -> Path:
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
        self.now = time.perf_counter()

    def add(self, part: str) -> None:
        """Adds the time since the last call."""
        start, self.now = self.now, time.perf_counter()
        self.seconds[part] = self.seconds.get(part, 0.0) + self.now - start


Score = Callable[[Tensor, Stopwatch], list[Prediction]]


def by_pytorch(tagger: Tagger) -> Score:
    """Tags a batch as the command does."""
    names, queries = tagger.embed(None)
    prepared = tagger.prepare(queries)
    selection = Selection.of(5, None, True)

    def score(images: Tensor, watch: Stopwatch) -> list[Prediction]:
        tokens = tagger.tokens(images)
        watch.add("backbone")
        predictions = selection.apply(*tagger.score(tokens, prepared), names)
        watch.add("head and selection")
        return predictions

    return score


def by_onnxruntime(tagger: Tagger, is_baked: bool, threads: int, folder: str) -> Score:
    """Tags a batch with the exported model."""
    names, queries = tagger.embed(None)
    selection = Selection.of(5, None, True)
    path = Path(folder, "model.onnx")
    export_tagger(tagger.network, queries, is_baked, IMAGE_SIZE, path, "onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options)
    vectors = {} if is_baked else {"queries": queries.numpy()}

    def score(images: Tensor, watch: Stopwatch) -> list[Prediction]:
        (logits,) = session.run(None, {"images": images.numpy(), **vectors})
        scores = torch.from_numpy(logits)
        predictions = selection.apply(scores, scores.sigmoid(), names)
        watch.add("network and selection")
        return predictions

    return score


def backbone_alone(tagger: Tagger, num_images: int, batch_size: int) -> float:
    """Images per second of the backbone on pixels that are there."""
    images = torch.randint(0, 256, (batch_size, 3, IMAGE_SIZE, IMAGE_SIZE), dtype=torch.uint8)
    tagger.tokens(images)
    start = time.perf_counter()
    for _ in range(num_images // batch_size):
        tagger.tokens(images)
    return num_images // batch_size * batch_size / (time.perf_counter() - start)


def tag(score: Score, paths: list[Path], batch_size: int, output: Path) -> Stopwatch:
    """Reads the images, tags them, and writes a CSV."""
    watch = Stopwatch()
    with open_output(output) as file:
        write = make_writer("csv", file, paths)
        for batch in image_batches(paths, IMAGE_SIZE, batch_size):
            watch.add("waiting for images")
            predictions = score(batch.images, watch)
            for index, prediction in zip(batch.indices, predictions, strict=True):
                write(paths[index], prediction, False)
            watch.add("writing")
    watch.add("writing")
    return watch


def search(tagger: Tagger, paths: list[Path], num_images: int, folder: Path, compact: bool) -> None:
    """Makes an index of some images, and many that are not there; finds the best for words."""
    start = time.perf_counter()
    Gallery.build(tagger, paths, folder, compact=compact)
    print(f"made of {len(paths) / (time.perf_counter() - start):.1f} images/s")
    index = TokenIndex(folder)
    example = {name: row.float() for name, row in index.select(lambda _: True)[1][0].items()}
    rows = {name: row + 0.1 * torch.randn(256, *row.shape) for name, row in example.items()}
    with index.adding() as add:
        for first in range(len(paths), num_images, 256):
            numbers = range(first, min(num_images, first + 256))
            chosen = {name: array[: len(numbers)] for name, array in rows.items()}
            add(chosen, [ImageFile(f"/{number}.jpg", 1, 1) for number in numbers])
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e9
    start = time.perf_counter()
    gallery = Gallery.open(tagger, folder)
    print(
        f"{len(gallery):,} images, {[*map(list, map(Tensor.size, example.values()))]} values each, "
        f"{size:.2f} GB; opened in {time.perf_counter() - start:.1f} s"
    )
    for number in (1, 1, 10, 100):
        start, start_of_work = time.perf_counter(), time.process_time()
        gallery.best(tagger.vocabulary.names[:number])
        seconds, work = time.perf_counter() - start, time.process_time() - start_of_work
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(
            f"{number} words: {seconds:.1f} s, {work:.1f} s of processors; most memory so far "
            f"{most:.2f} GB",
            flush=True,
        )


def main() -> None:
    """Prints images per second, and the share of each part of the time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", help="A folder (default: drawn images, JPEG of 640 x 480).")
    parser.add_argument("--num_images", type=int, default=256)
    parser.add_argument("--num_labels", type=int, default=1006)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--index", type=int, help="Images of an index to search.")
    parser.add_argument("--compact", action="store_true", help="With --index.")
    parser.add_argument("--checkpoint", help="With --index (default: random weights).")
    parser.add_argument("--num_groups", type=int, help="With --index (default: full decoding).")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0", help="With --index; timm's.")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        source = options.images or write_images(Path(folder, "images"), options.num_images)
        paths = find_images([str(source)])[: options.num_images]
        print(f"{len(paths)} images, {options.num_labels} labels, {options.threads} threads")
        if options.index:
            if options.checkpoint:
                tagger = Tagger.from_pretrained(options.checkpoint)
            else:
                tagger = make_tagger(
                    options.num_labels, options.num_groups, folder, options.backbone
                )
            search(tagger, paths, options.index, Path(folder, "index"), options.compact)
            return
        for kind, num_groups in (("full decoding", None), ("100 groups", 100)):
            tagger = make_tagger(options.num_labels, num_groups, folder)
            alone = backbone_alone(tagger, len(paths), options.batch_size)
            print(f"\n{kind}; backbone alone, in PyTorch: {alone:.1f} images/s")
            scores = {
                "PyTorch": by_pytorch(tagger),
                "ONNX Runtime": by_onnxruntime(tagger, False, options.threads, folder),
                "  built in": by_onnxruntime(tagger, True, options.threads, folder),
            }
            for name, score in scores.items():
                score(torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8), Stopwatch())
                watch = tag(score, paths, options.batch_size, Path(folder, "tags.csv"))
                total = sum(watch.seconds.values())
                rate = len(paths) / total
                parts = ", ".join(
                    f"{part} {seconds / total:.0%}" for part, seconds in watch.seconds.items()
                )
                print(f"  {name:<14}{rate:6.1f} images/s, {rate / alone:.2f} of it ({parts})")


if __name__ == "__main__":
    main()
