"""What training at scale consists of, measured on this machine: the terms of `scale_model.py`.

    python benchmarks/scale_terms.py --photos PHOTOS [--output terms.json]

Seconds of one core to decode and vary a photograph, to read the tokens of an image, to compute a
test's figures; floating-point operations, bytes that are kept for the backward pass, parameters and
buffers of the three recipes' networks, which are counted without computing anything.

The photographs are mosaics of those in the folder PHOTOS, so that their detail is that of
photographs whatever their size. Times are seconds of the processor, not of the clock, so that
others' work on the machine counts little.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from data_loading import OurDataset
from metrics import make as known_data
from PIL import Image, ImageOps
from scale_recipes import RECIPES, Files, Recipe
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from zsl.data import ImageConfig
from zsl.data.feature_store import FeatureDataset
from zsl.data.seeds import Draw
from zsl.data.transforms import training_transform
from zsl.metrics import Protocol, evaluate
from zsl.models import FixedMLDecoderConfig, MLDecoderConfig, TaggerNetwork, TimmBackboneConfig

BACKBONES = ("tresnet_m", "tresnet_v2_l", "resnet50")
HEADS: dict[str, tuple[Any, int, int]] = {
    "925 words, full": (MLDecoderConfig(), 49, 925),
    "925 words, 200 groups": (MLDecoderConfig(num_groups=200), 49, 925),
    "80 classes, full": (FixedMLDecoderConfig(num_groups=None), 196, 80),
    "9,605 classes, full": (FixedMLDecoderConfig(num_groups=None), 49, 9605),
    "9,605 classes, 200 groups": (FixedMLDecoderConfig(num_groups=200), 49, 9605),
}
"""Configs, tokens of an image, and labels."""


def processor_seconds(work: Callable[[], Any], rounds: int = 3) -> float:
    """Seconds of the processor: the fastest round."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def mosaic(photos: list[Path], files: Files, seed: int) -> Image.Image:
    """Photographs side by side."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (files.width, files.height))
    for left in range(0, files.width, 256):
        for top in range(0, files.height, 192):
            photo = Image.open(photos[random.integers(len(photos))]).convert("RGB")
            image.paste(ImageOps.fit(photo, (256, 192)), (left, top))
    return image


def encoded(image: Image.Image, kilobytes: float | None) -> bytes:
    """The content of a JPEG of some size, or of quality 85."""
    qualities = [85] if kilobytes is None else range(60, 100)
    content = b""
    for quality in qualities:
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        content = buffer.getvalue()
        if kilobytes is not None and len(content) >= kilobytes * 1000:
            break
    return content


def decoding(photos: list[Path], files: Files, size: int, number: int = 32) -> dict[str, float]:
    """Seconds of one core for an image: read, decoded and resized; and varied as in training."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{seed}.jpg") for seed in range(number)]
        for seed, path in enumerate(paths):
            path.write_bytes(encoded(mosaic(photos, files, seed), files.kilobytes))
        mean = sum(path.stat().st_size for path in paths) / number
        published = ImageConfig(size, cutout=0.5, rand_augment="published")
        plain, varied = (
            OurDataset(paths, training_transform(config))
            for config in (ImageConfig(size), published)
        )
        return {
            "bytes an image": mean,
            "s to decode plainly": processor_seconds(
                lambda: plain.__getitems__(range(number)), rounds=5
            )
            / number,
            "s to decode": processor_seconds(
                lambda: varied.__getitems__([Draw(i, i) for i in range(number)]), rounds=5
            )
            / number,
        }


class Counted(NamedTuple):
    """What a network takes for a batch."""

    forward: int
    """Floating-point operations: two for each multiplication with an addition."""
    backward: int
    kept: int
    """Bytes kept for the backward pass, beside parameters and buffers."""


def count(network: nn.Module, mixed: bool, *inputs: Tensor) -> Counted:
    """Counts a training step on tensors without content; `mixed` computes in half precision."""
    mode, storages = FakeTensorMode(), {}
    named = [*network.named_parameters(), *network.named_buffers()]
    tensors: dict[str, Tensor] = {name: mode.from_tensor(tensor) for name, tensor in named}
    own = {tensor.untyped_storage()._cdata for tensor in tensors.values()}

    def keep(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    counter = FlopCounterMode(display=False)
    arguments = tuple(mode.from_tensor(value) for value in inputs)
    with mode:
        with (
            counter,
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            torch.autocast("cpu", torch.bfloat16, enabled=mixed),
        ):
            logits = torch.func.functional_call(network, tensors, arguments)
        forward = counter.get_total_flops()
        with counter:
            logits.float().sum().backward()
    kept = sum(storage.nbytes() for key, storage in storages.items() if key not in own)
    return Counted(forward, counter.get_total_flops(), kept)


def per_image(network: nn.Module, mixed: bool, shape: tuple[int, ...], *more: Tensor) -> Counted:
    """Counts what one more image adds, and sees to it that every one adds as much.

    A batch of one shares some memory that larger ones copy.
    """
    dtype = torch.uint8 if shape[0] == 3 else torch.float32
    batches = [count(network, mixed, torch.zeros(b, *shape, dtype=dtype), *more) for b in (2, 3, 5)]
    first, second = ([b - a for a, b in zip(*pair, strict=True)] for pair in pairwise(batches))
    for one, two in zip(first, second, strict=True):
        assert abs(two - 2 * one) <= 0.01 * abs(two), (first, second)
    return Counted(*first)


def networks(recipe: Recipe) -> dict[str, float]:
    """The terms of a recipe's network: for one image, but for parameters and buffers."""
    vectors = torch.randn(recipe.num_labels, 300)
    words = isinstance(recipe.head, MLDecoderConfig)
    network = TaggerNetwork.make(
        TimmBackboneConfig(recipe.backbone, weights=None),
        recipe.head,
        recipe.size,
        vectors if words else None,
        recipe.num_labels,
    )
    shape = (3, recipe.size, recipe.size)
    mixed, full = (per_image(network, mixed, shape) for mixed in (True, False))
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "buffer bytes": sum(b.nbytes for b in network.buffers()),
        "scoring FLOP": full.forward,
        "training FLOP": full.forward + full.backward,
        "bytes kept": mixed.kept,
        "bytes kept in float32": full.kept,
    }


def backbones() -> dict[str, dict[str, float]]:
    """Backbones by themselves."""
    found: dict[str, dict[str, float]] = {}
    for name in BACKBONES:
        for size in (224, 448):
            network = TimmBackboneConfig(name, weights=None).make(size)
            of_image = per_image(network, True, (3, size, size))
            found[f"{name}, {size} px"] = {
                "parameters": sum(p.numel() for p in network.parameters()),
                "scoring FLOP": of_image.forward,
                "training FLOP": of_image.forward + of_image.backward,
                "bytes kept": of_image.kept,
            }
    return found


def heads() -> dict[str, dict[str, float]]:
    """Heads by themselves, on the 49 tokens of TResNet-L at 224 px; 80 classes on those at 448."""
    found = {}
    for name, (config, tokens, labels) in HEADS.items():
        words = isinstance(config, MLDecoderConfig)
        head = config.make(2048, torch.randn(labels, 300) if words else labels)
        more = (torch.randn(labels, 300),) if words else ()
        of_image = per_image(head, True, (tokens, 2048), *more)
        batch = torch.randn(4, tokens, 2048)

        def train(
            head: nn.Module = head, batch: Tensor = batch, more: tuple[Tensor, ...] = more
        ) -> None:
            head(batch, *more).sum().backward()

        found[name] = {
            "parameters": sum(p.numel() for p in head.parameters()),
            "scoring FLOP": of_image.forward,
            "training FLOP": of_image.forward + of_image.backward,
            "bytes kept": of_image.kept,
            "s to train here": processor_seconds(train) / 4,
        }
    return found


def reading_tokens(number: int = 512, batch: int = 64) -> dict[str, float]:
    """Reading the stored tokens of TResNet-L at 224 px, in random order, from the page cache."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "train.npy")
        stored = np.lib.format.open_memmap(path, "w+", np.float16, (number, 49, 2048))
        stored[:] = 1
        stored.flush()
        images = OurDataset([path] * number, training_transform(ImageConfig(224)))
        dataset = FeatureDataset(path, images)
        order = np.random.default_rng(0).permutation(number).tolist()

        def read() -> None:
            for first in range(0, number, batch):
                dataset.__getitems__(order[first : first + batch])

        return {
            "bytes an image": float(stored[0].nbytes),
            "s to read": processor_seconds(read) / number,
        }


def partly_known(num_images: int, num_labels: int, known: float) -> tuple[Tensor, Tensor]:
    """Scores float32 and targets of which few are known, common labels more often."""
    random = np.random.default_rng(0)
    targets = torch.full((num_images, num_labels), -1, dtype=torch.int8)
    number = int(known * num_images)
    rows, labels = random.integers(num_images, size=number), random.random(number) ** 3
    targets.numpy()[rows, (num_labels * labels).astype(int)] = random.random(number) < 0.35
    scores = torch.empty(num_images, num_labels)
    generator = torch.Generator().manual_seed(0)
    for part in scores.split(4096):
        part.normal_(generator=generator)
    return scores, targets


def evaluating(size: tuple[int, int], known: float | None) -> dict[str, float]:
    """Computing all figures of one group of labels, and the memory for that."""
    scores, targets = known_data(*size) if known is None else partly_known(*size, known)
    protocol = Protocol(empty="zero" if known is None else "two_sided")
    before, start, begun = peak(), time.perf_counter(), time.process_time()
    evaluation = evaluate(scores, targets, {"all": list(range(size[1]))}, protocol=protocol)
    return {
        "s by the clock": time.perf_counter() - start,
        "s to evaluate": time.process_time() - begun,
        "bytes of scores and targets": float(scores.nbytes + targets.nbytes),
        "bytes more at most": peak() - before,
        "known": float(np.count_nonzero(targets.numpy() >= 0)),
        "mAP": evaluation.figures["all/mAP"],
    }


def peak() -> float:
    """The most memory that this process had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(photos: Path) -> dict[str, Any]:
    """Measures all terms."""
    paths = sorted(path for path in photos.rglob("*.jpg") if path.stat().st_size > 8000)
    terms: dict[str, Any] = {}
    for name, recipe in RECIPES.items():
        sizes = {files.kind: decoding(paths, files, recipe.size) for files in recipe.files}
        terms[name] = sizes[recipe.files[0].kind] | networks(recipe)
        terms[name]["validation"] = evaluating(recipe.validation, recipe.known)
        terms[name]["files"] = sizes
        print(name, json.dumps(terms[name], indent=2), flush=True)
    return terms | {"backbones": backbones(), "heads": heads(), "tokens": reading_tokens()}


def main() -> None:
    """Writes the terms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("terms.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.output.write_text(json.dumps(measure(options.photos), indent=2))


if __name__ == "__main__":
    main()
