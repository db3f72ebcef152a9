"""What training costs at the size of NUS-WIDE, COCO and OpenImages V6, on 1, 8 and 64 devices.

    python benchmarks/scale.py measure --photos PHOTOS [--output terms.json]
    python benchmarks/scale.py model [--terms terms.json] [--tflops 60] [--loaders 8] ...
    python benchmarks/scale.py simulate metrics|sampler

`measure` finds the terms of the model on this machine: seconds of one core to decode and vary a
photograph, to read the tokens of an image, to compute a test's figures; floating-point operations,
bytes that are kept for the backward pass, parameters and buffers of the three recipes' networks,
which are counted without computing anything. `model` puts them together with what a machine is
assumed to have: options, each with its default. `simulate` runs what needs no pixels at its true
size: the figures of OpenImages' test, and the order of its nine million images over 64 processes.
`large_index.py` does the same for the index.

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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from data_loading import OurDataset
from metrics import make as known_data
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from zsl.data import ImageConfig
from zsl.data.feature_store import FeatureDataset
from zsl.data.resumable_sampler import ResumableSampler
from zsl.data.seeds import Draw
from zsl.data.shared_sampler import SharedSampler
from zsl.data.transforms import training_transform
from zsl.metrics import Protocol, evaluate
from zsl.models import FixedMLDecoderConfig, MLDecoderConfig, TaggerNetwork, TimmBackboneConfig

DEVICES = (1, 8, 64)
PER_MACHINE = 8
BYTES_PER_PARAMETER = 4 * 5
"""float32: the parameter, its gradient, two moments of Adam, its average."""


class Files(NamedTuple):
    """Image files as a data set has them."""

    kind: str
    width: int
    height: int
    kilobytes: float | None
    """Mean size where it is published; None takes what JPEG quality 85 gives."""


class Recipe(NamedTuple):
    """A shipped config and its data."""

    backbone: str
    head: MLDecoderConfig | FixedMLDecoderConfig
    size: int
    batch: int
    num_labels: int
    """Trained."""
    num_images: int
    """Trained on."""
    validation: tuple[int, int]
    """Images and labels of each epoch's validation."""
    test: tuple[int, int]
    known: int | None
    """Known targets of an image; None where all are."""
    files: tuple[Files, ...]
    """The first ones are those of the model."""


RECIPES = {
    "NUS-WIDE": Recipe(
        backbone="tresnet_v2_l",
        head=MLDecoderConfig(),
        size=224,
        batch=56,
        num_labels=925,
        num_images=153_700,
        validation=(8089, 925),
        test=(107_859, 1006),
        known=None,
        files=(Files("medium of Flickr", 500, 375, None), Files("small", 240, 180, None)),
    ),
    "COCO": Recipe(
        backbone="tresnet_v2_l",
        head=FixedMLDecoderConfig(num_groups=None),
        size=448,
        batch=56,
        num_labels=80,
        num_images=77_977,
        validation=(4104, 80),
        test=(40_137, 80),
        known=None,
        files=(Files("originals", 640, 480, 13e6 / 82_783),),
    ),
    "OpenImages V6": Recipe(
        backbone="tresnet_m",
        head=FixedMLDecoderConfig(num_groups=200),
        size=224,
        batch=64,
        num_labels=9605,
        num_images=9_011_219,
        validation=(41_620, 9605),
        test=(125_436, 9605),
        known=14,
        files=(
            Files("shorter side 256", 341, 256, None),
            Files("longer side 1024", 1024, 768, 513e6 / 1_743_042),
        ),
    ),
}
BACKBONES = ("tresnet_m", "tresnet_v2_l", "resnet50")
HEADS: dict[str, tuple[Any, int, int]] = {
    "925 words, full": (MLDecoderConfig(), 49, 925),
    "925 words, 200 groups": (MLDecoderConfig(num_groups=200), 49, 925),
    "80 classes, full": (FixedMLDecoderConfig(num_groups=None), 196, 80),
    "9,605 classes, full": (FixedMLDecoderConfig(num_groups=None), 49, 9605),
    "9,605 classes, 200 groups": (FixedMLDecoderConfig(num_groups=200), 49, 9605),
}
"""Configs, tokens of an image, and labels."""


# Formulas of the model.


def all_reduce_bytes(num_bytes: float, devices: int) -> float:
    """Bytes that each device sends, and receives, to sum a buffer over all devices in a ring."""
    return 2 * (devices - 1) / devices * num_bytes


def broadcast_bytes(num_bytes: float, devices: int) -> float:
    """Bytes that each device passes on in a ring, so that all have the buffer of the first."""
    return num_bytes if devices > 1 else 0


def gathered_bytes(num_images: int, num_labels: int) -> float:
    """Bytes of the scores float32, targets int8 and indices int64 that each process collects."""
    return num_images * (5 * num_labels + 8)


@dataclass(frozen=True)
class Machine:
    """What a machine of eight devices is assumed to have: all but its decoding, which is measured.

    Args:
        tflops: What a device reaches of its peak, in 10^12 operations a second.
        loaders: Processes a device that load images, each with a core.
        disk: Bytes a second that the machine reads.
        link: Bytes a second that a device sends to another one of the machine.
        network: Bytes a second that the machine sends to another one.
    """

    tflops: float = 60.0
    loaders: int = 8
    disk: float = 1e9
    link: float = 200e9
    network: float = 12.5e9


class Step(NamedTuple):
    """A step of training on N devices; what overlaps, as it does at best, counts once."""

    seconds: dict[str, float]
    """What each part takes by itself: decode, device, disk, network."""
    images: int
    """On all devices."""
    sent: float
    """Bytes that each device sends."""
    read: float
    """Bytes that each machine reads."""

    @property
    def bottleneck(self) -> str:
        """The part that takes longest."""
        return max(self.seconds, key=lambda part: self.seconds[part])

    @property
    def speed(self) -> float:
        """Images a second on all devices."""
        return self.images / self.seconds[self.bottleneck]


def step(recipe: Recipe, terms: dict[str, float], machine: Machine, devices: int) -> Step:
    """Returns what a step of a recipe takes by the terms that were measured."""
    on_machine = min(devices, PER_MACHINE)
    sent = all_reduce_bytes(4 * terms["parameters"], devices)
    sent += broadcast_bytes(terms["buffer bytes"], devices)
    read = on_machine * recipe.batch * terms["bytes an image"]
    seconds = {
        "decode": recipe.batch * terms["s to decode"] / machine.loaders,
        "device": recipe.batch * terms["training FLOP"] / machine.tflops / 1e12,
        "disk": read / machine.disk,
        # A ring through all devices enters and leaves each machine once.
        "network": sent / (machine.link if devices <= PER_MACHINE else machine.network),
    }
    return Step(seconds, devices * recipe.batch, sent, read)


# Terms.


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


# Tables.


def table(rows: list[list[str]]) -> str:
    """A table of Markdown; the first row is its head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


STORED = "NUS-WIDE, stored tokens"


def with_stored_tokens(terms: dict[str, Any]) -> dict[str, Any]:
    """Adds NUS-WIDE with a frozen backbone, whose tokens are read by the process that trains."""
    tokens, head = terms["tokens"], terms["heads"]["925 words, full"]
    read = {"bytes an image": tokens["bytes an image"], "s to decode": tokens["s to read"]}
    return terms | {STORED: head | read | {"buffer bytes": 0}}


def model_rows(terms: dict[str, Any], machine: Machine) -> Iterator[list[str]]:
    """Yields the rows of the model's table."""
    yield [
        "data, devices",
        "decode, device, disk, network: ms a step",
        "bottleneck",
        "images/s",
        "epoch",
        "sent, MB a step",
        "keeps up: loaders, disk, network",
    ]
    terms = with_stored_tokens(terms)
    recipes = RECIPES | {STORED: RECIPES["NUS-WIDE"]}
    for name, recipe in recipes.items():
        own_machine = replace(machine, loaders=1) if name == STORED else machine
        for devices in DEVICES:
            found = step(recipe, terms[name], own_machine, devices)
            of_device = found.seconds["device"]
            yield [
                f"{name}, {devices}",
                ", ".join(f"{1000 * value:.0f}" for value in found.seconds.values()),
                found.bottleneck,
                f"{found.speed:,.0f}",
                f"{recipe.num_images / found.speed:,.0f} s",
                f"{found.sent / 1e6:,.0f}",
                f"{own_machine.loaders * found.seconds['decode'] / of_device:.1f}, "
                f"{found.read / of_device / 1e6:,.0f} MB/s, "
                f"{found.sent / of_device / 1e9:.1f} GB/s",
            ]


def memory_rows(terms: dict[str, Any]) -> Iterator[list[str]]:
    """Yields what a device holds, and what a process does after a validation and a test."""
    yield [
        "data",
        "parameters, gradients, Adam, average",
        "kept for the backward pass",
        "validation: collected by every process; its figures",
        "test: collected by every process",
    ]
    for name, recipe in RECIPES.items():
        own = terms[name]
        yield [
            name,
            f"{BYTES_PER_PARAMETER * own['parameters'] / 1e9:.2f} GB",
            f"{recipe.batch} × {own['bytes kept'] / 1e6:.0f} MB = "
            f"{recipe.batch * own['bytes kept'] / 1e9:.1f} GB",
            f"{gathered_bytes(*recipe.validation) / 1e6:,.0f} MB; "
            f"{own['validation']['s to evaluate']:.1f} s",
            f"{gathered_bytes(*recipe.test) / 1e6:,.0f} MB",
        ]


def term_rows(terms: dict[str, Any]) -> Iterator[list[str]]:
    """Yields the files and the networks, as they were measured."""
    yield ["", "kB an image", "ms to decode", "and vary"]
    for name, recipe in RECIPES.items():
        for files in recipe.files:
            own = terms[name]["files"][files.kind]
            yield [
                f"{name}, {files.kind}, {files.width} × {files.height} to {recipe.size} px",
                f"{own['bytes an image'] / 1000:.0f}",
                f"{1000 * own['s to decode plainly']:.1f}",
                f"{1000 * own['s to decode']:.1f}",
            ]


def part_rows(parts: dict[str, dict[str, float]]) -> Iterator[list[str]]:
    """Yields backbones or heads, as they were counted."""
    yield ["", "parameters", "GFLOP to score", "to train", "MB kept", "ms to train here"]
    for name, own in parts.items():
        here = own.get("s to train here")
        yield [
            name,
            f"{own['parameters'] / 1e6:.1f} M",
            f"{own['scoring FLOP'] / 1e9:.2f}",
            f"{own['training FLOP'] / 1e9:.2f}",
            f"{own['bytes kept'] / 1e6:.1f}",
            "" if here is None else f"{1000 * here:.0f}",
        ]


def print_model(terms: dict[str, Any], machine: Machine) -> None:
    """Prints terms and model as tables."""
    whole = {name: terms[name] for name in RECIPES}
    for rows in (
        term_rows(terms),
        part_rows(terms["backbones"] | terms["heads"] | whole),
        model_rows(terms, machine),
        memory_rows(terms),
    ):
        print(table(list(rows)), end="\n\n")
    print(machine)


# Simulations.


def simulate_metrics() -> None:
    """All figures of OpenImages' test."""
    recipe = RECIPES["OpenImages V6"]
    for name, value in evaluating(recipe.test, recipe.known).items():
        print(f"{value:>18,.3f} {name}", flush=True)


def simulate_sampler(processes: int = 64) -> None:
    """An epoch of OpenImages over 64 processes: every image once, and the padding twice."""
    recipe = RECIPES["OpenImages V6"]
    count = recipe.num_images
    rows, times, begun = np.arange(count), np.zeros(count, np.int64), []
    before = peak()
    for rank in range(processes):
        sampler = ResumableSampler(rows, processes, rank, seed=0)
        start = time.process_time()
        draws = iter(sampler)
        first = next(draws)
        begun.append(time.process_time() - start)
        positions = [first.position, *(draw.position for draw in draws)]
        times += np.bincount(positions, minlength=count)
    middle = len(sampler) // 2
    sampler.begin(0, middle)
    start = time.process_time()
    following = next(iter(sampler))
    resumed = time.process_time() - start
    assert following.position == positions[middle]
    padding = processes * len(sampler) - count
    assert times.min() == 1
    assert times.sum() - count == (times == 2).sum() == padding
    print(f"training: {count:,} images, {len(sampler):,} a process, {padding} come twice")
    print(f"  s to begin an epoch: {np.median(begun):.2f}, in its middle: {resumed:.2f}")
    print(f"  MB of a process, while it begins: {(peak() - before) / 1e6:.0f}", flush=True)
    for kind, number in (("validation", 41_620), ("training images in order", count)):
        times, start = np.zeros(number, np.int64), time.process_time()
        for rank in range(processes):
            shared = SharedSampler(range(number), recipe.batch, processes, rank, equal=True)
            times += np.bincount(list(shared), minlength=number)
        seconds = (time.process_time() - start) / processes
        assert times.min() == 1
        assert (times[recipe.batch :] == 1).all()
        print(f"{kind}: {number:,} images, {seconds:.3f} s a process")
        print(f"  the first batch comes {times[0]} times", flush=True)


def main() -> None:
    """Measures, or prints the model, or simulates."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("--photos", type=Path, required=True)
    measuring.add_argument("--output", type=Path, default=Path("terms.json"))
    modelling = commands.add_parser("model")
    modelling.add_argument("--terms", type=Path, default=Path("terms.json"))
    for name, default in vars(Machine()).items():
        modelling.add_argument(f"--{name}", type=type(default), default=default)
    simulating = commands.add_parser("simulate")
    simulating.add_argument("what", choices=("metrics", "sampler"))
    options = vars(parser.parse_args())
    command = options.pop("command")
    if command == "simulate":
        {"metrics": simulate_metrics, "sampler": simulate_sampler}[options["what"]]()
    elif command == "measure":
        torch.set_num_threads(1)
        options["output"].write_text(json.dumps(measure(options["photos"]), indent=2))
    else:
        terms = json.loads(options.pop("terms").read_text())
        print_model(terms, Machine(**options))


if __name__ == "__main__":
    main()
