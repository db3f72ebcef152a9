"""Images divided into parts, each with its share of every label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def stratified_parts(
    labels: Sequence[Sequence[int]],
    groups: NDArray[np.int64],
    fractions: Sequence[float],
    seed: int = 0,
) -> NDArray[np.int64]:
    """Divides images by iterative stratification (Sechidis et al., ECML PKDD 2011, algorithm 1).

    The label that fewest remaining images have is dealt out first, each of its images to the part
    that lacks most of it. Images of a group stay together.

    Args:
        labels: For each of N images the labels that it has, counted from 0.
        groups: (N,), the group of each image.
        fractions: Of the images, for each part; their sum is 1.
        seed: Decides where parts lack equally much, and in which order images come.

    Returns:
        The part of each image, (N,).
    """
    random = np.random.default_rng(seed)
    num_labels = 1 + max((label for own in labels for label in own), default=-1)
    _, group_of = np.unique(groups, return_inverse=True)
    counts = np.zeros((group_of.max() + 1, num_labels), np.int32)
    for group, own in zip(group_of, labels, strict=True):
        counts[group, list(own)] += 1
    sizes = np.bincount(group_of)
    shares = np.asarray(fractions, np.float64)[:, None]
    wanted_images, wanted = shares[:, 0] * sizes.sum(), shares * counts.sum(axis=0)
    parts = np.full(len(sizes), -1)

    def place(group: int, lacks: NDArray[np.float64]) -> None:
        best = np.lexsort((random.random(len(lacks)), wanted_images, lacks))[-1]
        parts[group] = best
        wanted[best] -= counts[group]
        wanted_images[best] -= sizes[group]
        remaining[:] -= counts[group]

    remaining = counts.sum(axis=0)
    while remaining.any():
        label = np.where(remaining > 0, remaining, remaining.max() + 1).argmin()
        # Large groups first, while any part has room for them.
        own = random.permutation(np.flatnonzero((parts < 0) & (counts[:, label] > 0)))
        for group in own[np.argsort(-counts[own, label], kind="stable")]:
            place(group, wanted[:, label])
    for group in random.permutation(np.flatnonzero(parts < 0)):
        place(group, wanted_images)
    return parts[group_of]
