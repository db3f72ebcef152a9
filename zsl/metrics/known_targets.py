"""Targets that are known, picked out where they are few: the rest would be work for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_ENTRIES_AT_ONCE = 2**22  # Bounds the memory.
_IMAGES_AT_ONCE = 4096
_FEW = 1 / 8
"""Share of known targets below which they alone are worth picking out."""


def parts(matrix: Tensor) -> tuple[Tensor, ...]:
    """Returns the rows of a matrix a part at a time, which bounds the memory."""
    return matrix.split(max(1, _ENTRIES_AT_ONCE // max(1, matrix.shape[1])))


def pairs(scores: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields the rows of two matrices a part at a time."""
    return zip(parts(scores), parts(targets), strict=True)


def count_true(mask: Tensor, dim: int) -> Tensor:
    """Counts the true entries of bool (N, L) along a dimension: int64."""
    if not mask.is_cpu:
        return mask.sum(dim=dim)
    # Ten times as fast as PyTorch's sum.
    return torch.from_numpy(np.count_nonzero(mask.numpy(), axis=dim))


class KnownPart(NamedTuple):
    """A part of the images: all L labels, or of each image only the M that are known at most."""

    scores: Tensor
    """(B, L) or (B, M)."""
    targets: Tensor
    """int8, the same shape; an image with fewer known labels has unknown ones in their places."""
    columns: Tensor | None
    """int64 (B, M), the labels; None where all are there, in order."""
    num_labels: int

    def count_by_label(self, mask: Tensor) -> Tensor:
        """Counts the true entries of a bool mask for each label: int64 (L,)."""
        if self.columns is None:
            return count_true(mask, 0)
        return torch.bincount(self.columns[mask], minlength=self.num_labels)


def known_parts(scores: Tensor, targets: Tensor, at_least: int = 1) -> Iterator[KnownPart]:
    """Yields images a part at a time, without unknown labels where few are known.

    With 14 known labels of 9,605, as in OpenImages, nearly all work would be for nothing.

    Args:
        scores: (N, L).
        targets: int8 (N, L).
        at_least: Smallest number M of labels, at most L.
    """
    return (_known_part(*own, at_least) for own in pairs(scores, targets))


def _known_part(scores: Tensor, targets: Tensor, at_least: int) -> KnownPart:
    num_images, num_labels = targets.shape
    everything = KnownPart(scores, targets, None, num_labels)
    if not targets.is_cpu:
        return everything
    known = targets.numpy() >= 0
    numbers = np.count_nonzero(known, axis=1)
    width = max(at_least, int(numbers.max(initial=0)))
    if width > _FEW * num_labels:
        return everything
    rows, columns = map(torch.from_numpy, _positions(known))
    first = torch.from_numpy(np.cumsum(numbers) - numbers)
    place = rows, torch.arange(len(rows)) - first[rows]
    few = KnownPart(
        scores.new_zeros(num_images, width),
        targets.new_full((num_images, width), -1),
        torch.zeros(num_images, width, dtype=torch.int64),
        num_labels,
    )
    assert few.columns is not None
    few.scores[place], few.targets[place] = scores[rows, columns], targets[rows, columns]
    few.columns[place] = columns
    return few


def known_by_label(
    scores: NDArray[np.floating], targets: NDArray[np.int8]
) -> Iterator[tuple[NDArray[np.floating], NDArray[np.int8]]] | None:
    """Scores and targets of the known images of each label, in order; None where most are known.

    Targets are read row by row, as they lie in memory, and few scores are read at all.

    Args:
        scores: (N, L).
        targets: int8 (N, L).
    """
    num_images, num_labels = targets.shape
    found = []
    for first in range(0, num_images, _IMAGES_AT_ONCE):
        images = slice(first, first + _IMAGES_AT_ONCE)
        known = targets[images] >= 0
        if np.count_nonzero(known) > _FEW * known.size:
            return None
        place = _positions(known)
        found.append((place[1], scores[images][place], targets[images][place]))
    if not found:
        return None
    columns, known_scores, known_targets = map(np.concatenate, zip(*found, strict=True))
    order = np.argsort(columns, kind="stable")
    ends = np.cumsum(np.bincount(columns, minlength=num_labels))[:-1]
    return zip(
        np.split(known_scores[order], ends), np.split(known_targets[order], ends), strict=True
    )


def _positions(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the true entries of (N, L), row by row; `nonzero` takes longer."""
    return np.divmod(np.flatnonzero(mask), mask.shape[1])
