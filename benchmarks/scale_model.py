"""What training costs at the size of NUS-WIDE, COCO and OpenImages V6, on 1, 8 and 64 devices.

    python benchmarks/scale_model.py [--terms terms.json] [--tflops 60] [--loaders 8] ...

Puts the terms that `scale_terms.py` measured together with what a machine is assumed to have:
options, each with its default.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from scale_recipes import RECIPES, Recipe

DEVICES = (1, 8, 64)
PER_MACHINE = 8
BYTES_PER_PARAMETER = 4 * 5
"""float32: the parameter, its gradient, two moments of Adam, its average."""


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


def main() -> None:
    """Prints the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--terms", type=Path, default=Path("terms.json"))
    for name, default in vars(Machine()).items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    options = vars(parser.parse_args())
    terms = json.loads(options.pop("terms").read_text())
    print_model(terms, Machine(**options))


if __name__ == "__main__":
    main()
