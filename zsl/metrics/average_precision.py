"""Average precision: how well a label ranks the images."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from zsl.metrics.known_targets import known_by_label

Ties = Literal["averaged", "sorted"]
T = TypeVar("T")
_LABELS_AT_ONCE = 16  # A cache line of float32: columns are read at the speed of rows.


def average_precision(scores: Tensor, targets: Tensor, ties: Ties = "averaged") -> Tensor:
    """Exact average precision of each label over all images.

    `AP = 1/P Σ_p TP(s_p) / A(s_p)` over the P positives of a label, with TP(s) positives and A(s)
    known images that score s or more: scikit-learn's definition, in which images of equal score
    count together. With `ties="sorted"` they count one after the other, as in the published code
    of NUS-WIDE (`numpy.argsort(scores)[::-1]`): the later image first.

    Runs on the CPU, on all threads of PyTorch; where few targets are known, on one. Beside its
    arguments it needs a few MB a thread, or 32 bytes for each known target.

    Args:
        scores: (N, L), any floating dtype, finite.
        targets: int8 (N, L): 1 present, 0 absent, -1 unknown, which is left out.
        ties: How images of equal score count.

    Returns:
        float64 (L,); NaN for a label without a positive.
    """
    of_label = {"averaged": _tied, "sorted": _sorted}[ties]
    arrays = as_array(scores), targets.cpu().numpy()
    few = known_by_label(*arrays)
    ap = map_labels(of_label, *arrays) if few is None else [of_label(*label) for label in few]
    return torch.tensor(ap, dtype=torch.float64)


def as_array(scores: Tensor) -> NDArray[np.floating]:
    """Scores as a NumPy array, which has no bfloat16 and sorts halves slowly."""
    return (scores if scores.dtype == torch.float64 else scores.float()).detach().cpu().numpy()


def map_labels(
    of_label: Callable[[NDArray[np.floating], NDArray[np.int8]], T],
    scores: NDArray[np.floating],
    targets: NDArray[np.int8],
    title: str | None = None,
) -> list[T]:
    """Calls `of_label(scores (N,), targets (N,))` for each label, in order, on all threads.

    Of work with a title, progress is shown if it takes long.
    """

    def of_block(start: int) -> list[T]:
        columns = slice(start, start + _LABELS_AT_ONCE)
        block_scores, block_targets = scores[:, columns].T.copy(), targets[:, columns].T.copy()
        return [of_label(*label) for label in zip(block_scores, block_targets, strict=True)]

    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        starts = range(0, scores.shape[1], _LABELS_AT_ONCE)
        blocks = tqdm(
            threads.map(of_block, starts), title, len(starts), False, delay=2, disable=title is None
        )
        return [result for block in blocks for result in block]


def _tied(scores: NDArray[np.floating], targets: NDArray[np.int8]) -> float:
    """AP of one label without its ranking: sorted values alone say how many score s or more."""
    positives = np.sort(scores[targets == 1])
    if not len(positives):
        return np.nan
    known = np.sort(scores if (targets >= 0).all() else scores[targets >= 0])
    hits = len(positives) - np.searchsorted(positives, positives)
    depths = len(known) - np.searchsorted(known, positives)
    return float(np.mean(hits / depths))


def _sorted(scores: NDArray[np.floating], targets: NDArray[np.int8]) -> float:
    """AP of one label by its ranking."""
    _, positives, depths, hits = rank_positives(scores, targets, "sorted")
    return float(np.mean(hits / depths)) if len(positives) else np.nan


class RankedPositives(NamedTuple):
    """The ranking of one label, and where its positives are."""

    ranking: NDArray[np.int64]
    """Known images, the best first."""
    positives: NDArray[np.int64]
    """Images with the label, the best first."""
    depths: NDArray[np.int64]
    """(T,): known images down to each distinct threshold at which there is a positive."""
    hits: NDArray[np.int64]
    """(T,): positives down to the same."""


def rank_positives(
    scores: NDArray[np.floating], targets: NDArray[np.int8], ties: Ties
) -> RankedPositives:
    """Ranks the images of one label, by scores (N,) and targets (N,).

    A threshold is one score with `ties="averaged"`, one positive with `ties="sorted"`, where of
    equal scores the later image comes first.
    """
    known = np.flatnonzero(targets >= 0)
    # The stable sort is much slower.
    ascending = np.argsort(scores[known], kind="stable" if ties == "sorted" else "quicksort")
    ranking = known[ascending[::-1]]
    positions = np.flatnonzero(targets[ranking] == 1)
    positives = ranking[positions]
    hits = np.arange(1, len(positives) + 1)
    if ties == "sorted" or not len(positives):
        return RankedPositives(ranking, positives, positions + 1, hits)
    values = scores[positives]
    is_last = np.append(values[1:] != values[:-1], True)
    depths = np.searchsorted(-scores[ranking], -values[is_last], side="right")
    return RankedPositives(ranking, positives, depths, hits[is_last])
