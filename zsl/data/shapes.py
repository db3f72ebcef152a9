"""Scenes of coloured shapes, drawn on the fly: the embedded dataset.

A label is a colour and a shape, "purple star". Every colour and every shape is seen in
training, some combinations never are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from zsl.data.datamodule import MultiLabelDataModule
from zsl.data.dataset import MultiLabelDataset
from zsl.data.split import Split
from zsl.data.transforms import ImageConfig
from zsl.errors import require
from zsl.files.digests import text_digest
from zsl.labels import Role, Vocabulary
from zsl.preprocessing import ImageTransform

COLOURS = {
    "red": (214, 32, 38),
    "orange": (247, 132, 20),
    "yellow": (250, 222, 40),
    "green": (36, 150, 56),
    "cyan": (48, 208, 218),
    "blue": (36, 72, 208),
    "purple": (128, 40, 168),
    "pink": (250, 142, 190),
    "brown": (124, 74, 36),
    "gray": (136, 136, 136),
    "black": (18, 18, 18),
    "white": (246, 246, 246),
}
SIZE = 96
"""Side of a scene in pixels."""
MAX_SHAPES = 4
_OVERSAMPLING = 2
_VERSION = 1
"""Part of the fingerprint: raise it when the drawing changes."""

_ROLE_OF_DIAGONAL = {1: Role.UNSEEN, 6: Role.UNSEEN, 4: Role.HELD_OUT}

Points = list[tuple[float, float]]


def _polygon(corners: int, turn: float = 0.0) -> Points:
    angles = [turn + 2 * math.pi * corner / corners for corner in range(corners)]
    return [(math.cos(angle), math.sin(angle)) for angle in angles]


def _star() -> Points:
    angles = [math.pi * corner / 5 for corner in range(10)]
    radii = [1.0, 0.42] * 5
    return [(r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


def _heart() -> Points:
    angles = [2 * math.pi * step / 48 for step in range(48)]
    return [
        (
            math.sin(angle) ** 3,
            -(13 * math.cos(angle) - 5 * math.cos(2 * angle) - 2 * math.cos(3 * angle)) / 16,
        )
        for angle in angles
    ]


def _crescent() -> Points:
    outer = [math.radians(angle) for angle in range(50, 311, 6)]
    inner = [math.radians(angle) for angle in range(304, 55, -8)]
    return [(math.cos(a), math.sin(a)) for a in outer] + [
        (0.38 + 0.8 * math.cos(a), 0.93 * math.sin(a)) for a in inner
    ]


def _ring() -> Points:
    outer = _polygon(40)
    inner = [(0.55 * x, 0.55 * y) for x, y in reversed(_polygon(40))]
    return [*outer, outer[0], inner[-1], *inner]


SHAPES: dict[str, Points] = {
    "circle": _polygon(40),
    "square": _polygon(4, math.pi / 4),
    "triangle": _polygon(3),
    "star": _star(),
    "heart": _heart(),
    "cross": [
        (0.34, 0.34), (0.34, 1), (-0.34, 1), (-0.34, 0.34), (-1, 0.34), (-1, -0.34),
        (-0.34, -0.34), (-0.34, -1), (0.34, -1), (0.34, -0.34), (1, -0.34), (1, 0.34),
    ],
    "crescent": _crescent(),
    "ring": _ring(),
    "arrow": [(1, 0), (0.1, 0.8), (0.1, 0.3), (-1, 0.3), (-1, -0.3), (0.1, -0.3), (0.1, -0.8)],
    "ellipse": [(x, 0.5 * y) for x, y in _polygon(40)],
}  # fmt: skip
"""Outlines in the unit square from (-1, -1) to (1, 1)."""


def shapes_vocabulary() -> Vocabulary:
    """120 labels: 84 seen, 12 held out, 24 unseen, each colour with 7, 1 and 2 shapes."""
    names, roles = [], []
    for colour_position, colour in enumerate(COLOURS):
        for shape_position, shape in enumerate(SHAPES):
            diagonal = (3 * colour_position + shape_position) % 10
            names.append(f"{colour} {shape}")
            roles.append(_ROLE_OF_DIAGONAL.get(diagonal, Role.SEEN))
    return Vocabulary(names, roles)


@dataclass(frozen=True)
class PlacedShape:
    """One shape of a scene; lengths are in pixels, the angle in radians."""

    label: int
    x: float
    y: float
    radius: float
    angle: float

    def corners(self, outline: Points) -> Points:
        """Turns an outline in the unit square into one in the scene."""
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        return [
            (
                self.x + self.radius * (cosine * x - sine * y),
                self.y + self.radius * (sine * x + cosine * y),
            )
            for x, y in outline
        ]


def _place_shapes(labels: np.ndarray, random: np.random.Generator) -> list[PlacedShape]:
    """Puts shapes where they overlap little; one that finds no place is left out."""
    placed: list[PlacedShape] = []
    for label in labels:
        for _ in range(30):
            radius = random.uniform(12, 23)
            x, y = random.uniform(radius, SIZE - radius, size=2)
            if all(math.hypot(x - o.x, y - o.y) > 0.85 * (radius + o.radius) for o in placed):
                angle = random.uniform(0, 2 * math.pi)
                placed.append(PlacedShape(int(label), x, y, radius, angle))
                break
    return placed


def _background(random: np.random.Generator) -> Image.Image:
    """Soft patches of muted colour under a clutter of thin lines."""
    base = random.uniform(70, 190, size=3)
    base = base.mean() + 0.35 * (base - base.mean())
    patches = base + random.normal(0, 22, size=(6, 6, 1)) + random.normal(0, 8, size=(6, 6, 3))
    side = SIZE * _OVERSAMPLING
    image = Image.fromarray(patches.clip(0, 255).astype(np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    draw = ImageDraw.Draw(image)
    for _ in range(random.integers(8, 20)):
        ends = [float(value) for value in random.uniform(0, side, size=4)]
        colour = tuple(int(value) for value in (base + random.normal(0, 45, size=3)).clip(0, 255))
        draw.line(ends, fill=colour, width=int(random.integers(1, 4)))
    return image.filter(ImageFilter.GaussianBlur(0.6))


class ShapesDataset(MultiLabelDataset):
    """Scenes made from seed, split and index alone.

    Args:
        split: Training scenes hold seen labels, validation scenes held-out ones too, test
            scenes all.
        num_scenes: Length of the split.
        seed: Seed of all scenes.
        transform: Turns the pixels of an image into those of the batch.
    """

    def __init__(self, split: Split, num_scenes: int, seed: int, transform: ImageTransform) -> None:
        super().__init__(transform)
        self.num_scenes = num_scenes
        self.key = (seed, list(Split).index(split))
        self.vocabulary = shapes_vocabulary()
        last = {Split.TRAIN: Role.SEEN, Split.VAL: Role.HELD_OUT, Split.TEST: Role.UNSEEN}[split]
        self.labels = np.arange(len(self.vocabulary))[self.vocabulary.columns(Role.SEEN, last)]

    def __len__(self) -> int:
        """Number of scenes."""
        return self.num_scenes

    def images_fingerprint(self) -> str:
        """Returns a digest of what the scenes are drawn from."""
        return text_digest([repr((_VERSION, *self.key, self.num_scenes))])

    def _scene(self, index: int) -> tuple[list[PlacedShape], np.random.Generator]:
        if not 0 <= index < self.num_scenes:
            raise IndexError(f"scene {index} of {self.num_scenes}")
        random = np.random.default_rng((*self.key, index))
        count = random.integers(1, MAX_SHAPES + 1)
        return _place_shapes(random.choice(self.labels, size=count, replace=False), random), random

    def image(self, index: int) -> Image.Image:
        """Draws the scene."""
        shapes, random = self._scene(index)
        image = _background(random)
        draw = ImageDraw.Draw(image)
        for shape in shapes:
            colour, outline = self.vocabulary.names[shape.label].split()
            tint = np.add(COLOURS[colour], random.normal(0, 7, size=3)).clip(0, 255)
            corners = shape.corners(SHAPES[outline])
            draw.polygon(
                [(_OVERSAMPLING * x, _OVERSAMPLING * y) for x, y in corners],
                fill=tuple(int(value) for value in tint),
            )
        return image.resize((SIZE, SIZE), Image.Resampling.BOX)

    def boxes(self, index: int) -> dict[str, tuple[float, float, float, float]]:
        """Returns the box around each label's shape: left, top, right and bottom in pixels.

        The scene is `SIZE` pixels wide and high.
        """
        shapes, _ = self._scene(index)
        boxes = {}
        for shape in shapes:
            name = self.vocabulary.names[shape.label]
            across, down = np.transpose(shape.corners(SHAPES[name.split()[1]])).tolist()
            boxes[name] = (min(across), min(down), max(across), max(down))
        return boxes

    def target(self, index: int) -> Tensor:
        """Returns the int8 (120,) target of the scene."""
        shapes, _ = self._scene(index)
        target = torch.zeros(len(self.vocabulary), dtype=torch.int8)
        target[[shape.label for shape in shapes]] = 1
        return target


class ShapesDataModule(MultiLabelDataModule):
    """Scenes of one to four coloured shapes on a cluttered background, drawn from a seed.

    A true zero-shot test in minutes: all 12 colours and 10 shapes occur in training, 24 of the
    120 combinations are met in the test only.

    Args:
        num_train: Training scenes; their shapes have seen labels.
        num_val: Validation scenes; seen and held-out labels.
        num_test: Test scenes; all labels.
        seed: Seed of all scenes.
        images: The square that is made of each scene. Training scenes are not cropped, since a crop
            can cut a labelled shape off.
        loading: Further arguments of `MultiLabelDataModule`.
    """

    def __init__(
        self,
        num_train: int = 4000,
        num_val: int = 500,
        num_test: int = 2000,
        seed: int = 0,
        images: ImageConfig = ImageConfig(size=SIZE, horizontal_flip=True),
        **loading: Any,
    ) -> None:
        super().__init__(images, **loading)
        self.num_scenes = {Split.TRAIN: num_train, Split.VAL: num_val, Split.TEST: num_test}
        for split, count in self.num_scenes.items():
            require(count >= 1, f"num_{split} is {count}; expected 1 or more.")
        self.seed = seed
        self.vocabulary = shapes_vocabulary()

    def dataset(self, split: Split, transform: ImageTransform) -> ShapesDataset:
        """Returns the scenes of a split."""
        return ShapesDataset(split, self.num_scenes[split], self.seed, transform)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the seed, the numbers of scenes and the version of the drawing."""
        return text_digest([repr((_VERSION, self.seed, sorted(self.num_scenes.items())))])
