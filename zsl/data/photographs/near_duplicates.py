"""Photographs that are nearly the same: copies, other sizes, and shots of one burst."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from zsl.errors import reason_of
from zsl.files.images import open_image

MAX_DISTANCE = 7
"""Bits of the hash that may differ. More would need other keys in `near_pairs`."""
MAX_DIFFERENCE = 0.6
"""Mean absolute difference of small copies, as a part of that of neighbouring pixels.

Other sizes and compressions of a photograph have up to 0.4, a margin of 2 % cut off 0.7; products
before a white background, which share most bits of their hashes, have 0.6 and more.
"""
_SIDE = 32
_FLIPS = np.array([0, *(1 << bit for bit in range(16))], np.uint16)
_MOST_PAIRS = 1 << 22
"""Whose hashes are compared at a time."""
_MOST_COMPARED = 1 << 10
"""Pairs whose copies are compared at a time."""


class Look(NamedTuple):
    """What was seen of an image."""

    size: tuple[int, int] = (0, 0)
    """Width and height in pixels."""
    hash: int = 0
    """Its perceptual hash, 64 bits."""
    copy: NDArray[np.uint8] = np.zeros((_SIDE, _SIDE, 3), np.uint8)
    """A copy of 32 x 32 pixels."""
    problem: str = ""
    """Why it can't be read; empty if it can be."""


def look_at(paths: Sequence[Path], num_workers: int) -> list[Look]:
    """Reads images to their end, JPEGs at a fraction of their size."""
    with ThreadPoolExecutor(num_workers) as pool:  # Pillow decodes outside of Python's lock.
        looks = pool.map(_look, paths)
        return list(tqdm(looks, "looking at images", len(paths), unit=" images", delay=2))


def _look(path: Path) -> Look:
    try:
        with open_image(path) as image:
            size = image.size
            image.draft("RGB", (4 * _SIDE, 4 * _SIDE))
            small = image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    except Exception as error:  # Damaged files fail in many ways; none may stop the others.
        return Look(problem=reason_of(error))
    return Look(size, perceptual_hash(np.asarray(small.convert("L"))), np.asarray(small))


def perceptual_hash(grey: NDArray[np.uint8]) -> int:
    """Returns 64 bits: which of the lowest frequencies of an image are above their median.

    Args:
        grey: (32, 32). Half of the bits are set, so that flat photographs don't share most bits.
    """
    k, n = np.arange(8)[:, None], np.arange(_SIDE)[None]
    cosines = np.cos(np.pi * k * (2 * n + 1) / (2 * _SIDE))
    frequencies = (cosines @ grey.astype(np.float64) @ cosines.T).ravel()
    bits = frequencies > np.median(frequencies)
    return int(np.packbits(bits).view(np.uint64)[0])


def duplicate_groups(looks: Sequence[Look]) -> NDArray[np.int64]:
    """Numbers groups (N,) of images, those of which each is nearly the same as another of them."""
    hashes = np.array([look.hash for look in looks], np.uint64)
    copies = np.stack([look.copy for look in looks])
    links = [np.empty((2, 0), np.int64)]
    for pairs in near_pairs(hashes):
        for some in np.array_split(pairs, 1 + pairs.shape[1] // _MOST_COMPARED, axis=1):
            links.append(some[:, _differences(*copies[some]) <= MAX_DIFFERENCE])
    first, second = np.concatenate(links, axis=1)
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(len(looks),) * 2)
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _differences(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.floating]:
    """How much copies (P, H, W, 3) differ beside brightness, by the measure of `MAX_DIFFERENCE`."""
    pair = np.stack([first, second]).astype(np.float32)
    steps = [np.abs(np.diff(pair, axis=axis)).mean(axis=(2, 3, 4)) for axis in (2, 3)]
    pair -= pair.mean(axis=(2, 3), keepdims=True)
    detail = np.minimum(*sum(steps) / 2)
    differences: NDArray[np.floating] = np.abs(pair[0] - pair[1]).mean(axis=(1, 2, 3))
    return differences / np.maximum(detail, 1)


def near_pairs(hashes: NDArray[np.uint64]) -> Iterator[NDArray[np.int64]]:
    """Yields all pairs of hashes (N,) of which at most `MAX_DISTANCE` bits differ, some repeatedly.

    Seven bits in four parts of 16 are at most one in some part, so that only images are compared
    that have a part in common but for a bit: the time grows with N, not with its square.

    Yields:
        Positions int64 (2, P) of the first and of the second of each pair.
    """
    for part in range(4):
        keys = (hashes >> np.uint64(16 * part)).astype(np.uint16)
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        for flip in _FLIPS:
            starts = np.searchsorted(ordered, keys ^ flip, "left")
            counts = np.searchsorted(ordered, keys ^ flip, "right") - starts
            for rows in _portions(counts):
                first = np.repeat(rows, counts[rows])
                offsets = np.arange(len(first)) - np.repeat(
                    np.cumsum(counts[rows]) - counts[rows], counts[rows]
                )
                second = order[np.repeat(starts[rows], counts[rows]) + offsets]
                near = (first < second) & (
                    _num_bits(hashes[first] ^ hashes[second]) <= MAX_DISTANCE
                )
                if near.any():
                    yield np.stack([first[near], second[near]])


def _portions(counts: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yields positions, so many that their counts are some millions together."""
    portion = np.cumsum(counts) // _MOST_PAIRS
    bounds = np.flatnonzero(np.diff(portion)) + 1
    yield from np.split(np.arange(len(counts)), bounds)


def _num_bits(values: NDArray[np.uint64]) -> NDArray[np.uint8]:
    if hasattr(np, "bitwise_count"):  # Since NumPy 2.
        return np.bitwise_count(values)
    bits = np.unpackbits(values.view(np.uint8).reshape(-1, 8), axis=1)
    return bits.sum(axis=1, dtype=np.uint8)
