"""Images divided into parts, each with its share of every label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array


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
    rows = [group for group, own in zip(group_of, labels, strict=True) for _ in own]
    columns = [label for own in labels for label in own]
    sizes = np.bincount(group_of)
    shape = (len(sizes), num_labels)
    counts = csr_array((np.ones(len(rows), np.int64), (rows, columns)), shape=shape)
    groups_of = counts.tocsc()
    shares = np.asarray(fractions, np.float64)[:, None]
    remaining = counts.sum(axis=0)
    wanted_images, wanted = shares[:, 0] * sizes.sum(), shares * remaining
    parts = np.full(len(sizes), -1)

    def place(group: int, lacks: NDArray[np.float64]) -> None:
        best = np.lexsort((random.random(len(lacks)), wanted_images, lacks))[-1]
        own = slice(*counts.indptr[group : group + 2])
        parts[group] = best
        wanted[best, counts.indices[own]] -= counts.data[own]
        wanted_images[best] -= sizes[group]
        remaining[counts.indices[own]] -= counts.data[own]

    while remaining.any():
        label = np.where(remaining > 0, remaining, remaining.max() + 1).argmin()
        having = slice(*groups_of.indptr[label : label + 2])
        order = np.lexsort((random.random(having.stop - having.start), -groups_of.data[having]))
        # Large groups first, while any part has room for them.
        for group in groups_of.indices[having][order]:
            if parts[group] < 0:
                place(group, wanted[:, label])
    for group in random.permutation(np.flatnonzero(parts < 0)):
        place(group, wanted_images)
    return parts[group_of]
