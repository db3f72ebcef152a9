"""The published RandAugment, against its description, with Pillow alone."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from zsl.data import rand_augment
from zsl.data.rand_augment import OPERATIONS, PublishedRandAugment

GREY = (128, 128, 128)
Operation = Callable[[Image.Image, float], Image.Image]


def moved(*matrix: float, resampling: Image.Resampling) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.transform(
        image.size, Image.Transform.AFFINE, matrix, resampling, fillcolor=GREY
    )


BICUBIC, NEAREST = Image.Resampling.BICUBIC, Image.Resampling.NEAREST
EXPECTED: list[Operation] = [
    lambda i, m: ImageOps.invert(i),
    lambda i, m: i,  # Cutout has a test of its own.
    lambda i, m: ImageEnhance.Sharpness(i).enhance(1 + 0.1 * m),
    lambda i, m: ImageOps.autocontrast(i),
    lambda i, m: ImageOps.posterize(i, [8, 8, 7, 7, 6, 6, 5, 5, 4, 4][abs(int(m))]),
    lambda i, m: moved(1, m / 30, 0, 0, 1, 0, resampling=BICUBIC)(i),
    lambda i, m: moved(1, 0, m * 150 / 331 / 9 * i.width, 0, 1, 0, resampling=NEAREST)(i),
    lambda i, m: moved(1, 0, 0, 0, 1, m * 150 / 331 / 9 * i.height, resampling=NEAREST)(i),
    lambda i, m: moved(1, 0, 0, m / 30, 1, 0, resampling=BICUBIC)(i),
    lambda i, m: i.rotate(abs(m) * 30 / 9, fillcolor=GREY),
    lambda i, m: ImageOps.equalize(i),
    lambda i, m: ImageEnhance.Contrast(i).enhance(1 + 0.1 * m),
    lambda i, m: ImageEnhance.Color(i).enhance(1 + 0.1 * m),
    lambda i, m: i.point([v if v < 256 - abs(m) * 256 / 9 else 255 - v for v in range(256)] * 3),
    lambda i, m: ImageEnhance.Brightness(i).enhance(1 + 0.1 * m),
]


def noise(width: int = 30, height: int = 20) -> Image.Image:
    pixels = np.random.default_rng(0).integers(30, 220, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def differs(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, int) - np.asarray(other, int)).max())


@pytest.mark.parametrize("number", [number for number in range(15) if number != 1])
def test_operations_are_those_of_the_description(number: int) -> None:
    torch.manual_seed(number)
    image, signs = noise(), set()
    for magnitude in (1, 5, 9):
        allowed = [EXPECTED[number](image, sign * magnitude) for sign in (-1, 1)]
        for _ in range(12):
            varied = OPERATIONS[number](image, magnitude / 9)
            distances = [differs(varied, expected) for expected in allowed]
            # Bicubic pixels may be rounded to the neighbouring value.
            assert min(distances) <= 1
            signs.add(distances.index(min(distances)))
    # Where the sign matters, both occur.
    assert len(signs) == (2 if max(map(float, distances)) > 1 else 1)


def test_cutout_paints_a_square_of_up_to_20_pixels_that_the_edge_may_cut() -> None:
    torch.manual_seed(0)
    cutout, image = OPERATIONS[1], Image.new("RGB", (60, 50))
    for magnitude, side in zip(range(1, 10), (2, 4, 6, 8, 10, 12, 16, 18, 20), strict=True):
        areas = set()
        for _ in range(30):
            painted = np.asarray(cutout(image, magnitude / 9)).max(axis=2) > 0
            assert painted.sum() == painted.any(axis=0).sum() * painted.any(axis=1).sum()
            areas.add(int(painted.sum()))
        assert max(areas) == side**2
        assert magnitude < 5 or min(areas) < side**2
    assert set(np.unique(np.asarray(cutout(image, 1)).reshape(-1, 3), axis=0)[1]) == {125, 122, 113}
    assert differs(image, Image.new("RGB", (60, 50))) == 0  # The image itself is left alone.


def test_two_operations_are_each_applied_half_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    applied: list[tuple[int, float]] = []

    def recording(number: int) -> Operation:
        def operation(image: Image.Image, magnitude: float) -> Image.Image:
            applied.append((number, magnitude))
            return image

        return operation

    monkeypatch.setattr(rand_augment, "OPERATIONS", [recording(number) for number in range(15)])
    counts: Counter[int] = Counter()
    image, trials, total = noise(), 4000, 0
    policy = PublishedRandAugment()
    for _ in range(trials):
        policy(image)
        counts[len(applied) - total] += 1
        total = len(applied)
    for number, share in enumerate((0.25, 0.5, 0.25)):
        assert counts[number] / trials == pytest.approx(share, abs=0.03)
    pairs = Counter(applied)
    assert {number for number, _ in pairs} == set(range(15))
    assert {round(9 * magnitude) for _, magnitude in pairs} == set(range(1, 10))
    # 15 operations at 9 magnitudes, about 30 times each.
    assert len(pairs) == 135
    assert max(pairs.values()) < 60
