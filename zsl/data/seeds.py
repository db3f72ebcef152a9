"""What is drawn in training depends on the run's seed and on what it is drawn for, alone.

So neither the number of processes that load images nor a stop and a resume changes it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler


class Draw(NamedTuple):
    """An image of a split, as a sampler yields it where images are varied."""

    position: int
    """In the split."""
    seed: int
    """The seed of how it is varied, below 2**32."""


def run_seed() -> int:
    """Returns the seed of `pl.seed_everything`, or 0."""
    return int(os.environ.get("PL_GLOBAL_SEED", 0))


def seeds(count: int, *key: int) -> np.ndarray:
    """Returns uint32 (count,): seeds that the numbers of the key make, unlike those of others."""
    return np.random.SeedSequence(key).generate_state(count)


class ViewSampler(Sampler[Draw]):
    """All images in order, to be varied as in one epoch of a training.

    Args:
        dataset: What is sampled.
        epoch: Number of the epoch, and so of the view.
        start: Images that are left out at the beginning.
    """

    def __init__(self, dataset: Dataset, epoch: int, start: int = 0) -> None:
        self.size = len(dataset)  # type: ignore[arg-type]
        self.epoch = epoch
        self.start = start

    def __len__(self) -> int:
        """Number of images."""
        return self.size - self.start

    def __iter__(self) -> Iterator[Draw]:
        """Yields the images with their seeds."""
        return iter(self[:])

    def __getitem__(self, part: slice) -> list[Draw]:
        """Returns some of the images with their seeds."""
        positions = range(self.start, self.size)[part]
        return list(map(Draw, positions, self._seeds[positions.start : positions.stop].tolist()))

    @cached_property
    def _seeds(self) -> np.ndarray:
        return seeds(self.size, run_seed(), self.epoch)


def split_draws(draws: Sequence[int | Draw]) -> tuple[list[int], list[int | None]]:
    """Returns positions and seeds; a mere position has none."""
    pairs = [draw if isinstance(draw, Draw) else (draw, None) for draw in draws]
    return [position for position, _ in pairs], [seed for _, seed in pairs]


@contextmanager
def generators_kept() -> Iterator[None]:
    """Leaves the generators of torch's CPU, numpy and Python as they were before the block."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def seed_generators(seed: int) -> None:
    """Seeds all that transforms draw from: torchvision's from torch, timm's from the others."""
    # Not `torch.manual_seed`, which would set the GPU's generator too.
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
