"""Intervals of the figures by bootstrap over the images (Efron, 1979).

An image drawn c times counts as c images. So a figure is computed from the counts of the drawn
images, for all replicates at once, and no resampled data is ever made.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from zsl.errors import require
from zsl.metrics.average_precision import as_array, map_labels, rank_positives
from zsl.metrics.evaluation import (
    THRESHOLD,
    THRESHOLD_K,
    at_k_names,
    default_ks,
    of_columns,
    possible_ks,
)
from zsl.metrics.groups import FIXED, untrained_group
from zsl.metrics.known_targets import pairs
from zsl.metrics.per_image import (
    Counts,
    counts_at_k,
    found_at_k,
    harmonic_mean,
    precision_recall_f1,
    predicted_labels,
    threshold_figures,
)
from zsl.metrics.protocol import Protocol


class Bootstrap:
    """Draws of N images out of N, with replacement; the same seed gives the same draws.

    Args:
        num_images: Number N of images.
        num_replicates: Number R of draws. Their counts take 4·N·R bytes.
        seed: Seed of the draws.

    Raises:
        InputError: There are no draws.
    """

    def __init__(self, num_images: int, num_replicates: int = 1000, seed: int = 0) -> None:
        require(num_replicates >= 1, f"There are {num_replicates} replicates; expected 1 or more.")
        self.num_images = num_images
        generator = np.random.default_rng(seed)
        counts = np.empty((num_images, num_replicates), np.float32)
        for replicate in range(num_replicates):
            drawn = generator.integers(num_images, size=num_images)
            counts[:, replicate] = np.bincount(drawn, minlength=num_images)
        self.counts = torch.from_numpy(counts)
        """(N, R): how often each image was drawn."""

    def figures(
        self,
        scores: Tensor,
        targets: Tensor,
        groups: dict[str, list[int]],
        ks: Sequence[int] | None = None,
        protocol: Protocol | None = None,
        single_label: bool = False,
    ) -> dict[str, Tensor]:
        """The headline figures of `evaluate`, in each replicate.

        Args:
            scores: (N, L), finite.
            targets: int8 (N, L).
            groups: By name, the columns evaluated together.
            ks: The K, as `evaluate` has them.
            protocol: What counts.
            single_label: Whether each image has one label.

        Returns:
            float64 (R,) under the names of `Evaluation.figures`: mAP, P/R/F1@K, `harmonic_mAP`, of
            fixed classes the figures at the threshold; or mAP and accuracy.
        """
        protocol = protocol or Protocol()
        result = {}
        shared = self.ap(scores, targets, protocol) if protocol.images == "all_images" else None
        for name, columns in groups.items():
            own = of_columns(scores, columns), of_columns(targets, columns)
            ap = self.ap(*own, protocol) if shared is None else shared[columns]
            weighted = protocol.average == "weighted"
            positives = _drawn(own[1] == 1, self.counts) if weighted else None
            result[f"{name}/mAP"] = protocol.mean(ap, positives)
        if (untrained := untrained_group(groups)) and "seen" in groups:
            result["harmonic_mAP"] = harmonic_mean(result[f"{untrained}/mAP"], result["seen/mAP"])
        return result | self.at_k_figures(scores, targets, groups, ks, protocol, single_label)

    def at_k_figures(
        self,
        scores: Tensor,
        targets: Tensor,
        groups: dict[str, list[int]],
        ks: Sequence[int] | None = None,
        protocol: Protocol | None = None,
        single_label: bool = False,
    ) -> dict[str, Tensor]:
        """The figures of the labels predicted for an image, those of `figures` but mAP."""
        protocol = protocol or Protocol()
        result: dict[str, Tensor] = {}
        for name, columns in groups.items():
            own = of_columns(scores, columns), of_columns(targets, columns)
            figures: dict[str, Tensor] = {}
            for k in possible_ks(default_ks(ks, single_label), len(columns)):
                at_k = self.accuracy_at_k if single_label else self.at_k
                figures |= at_k(*own, k, protocol)
            if name == FIXED and not single_label:
                figures |= self.at_threshold(*own, protocol)
                if len(columns) >= THRESHOLD_K:
                    figures |= self.at_threshold(*own, protocol, THRESHOLD_K)
            result |= {f"{name}/{key}": value for key, value in figures.items()}
        return result

    def ap(self, scores: Tensor, targets: Tensor, protocol: Protocol) -> Tensor:
        """Average precision float64 (L, R); NaN where a label is empty among what was drawn."""
        kept = protocol.images_kept(targets)
        counts = self.counts[kept]

        def of_label(scores: NDArray[np.floating], targets: NDArray[np.int8]) -> Tensor:
            return _ap(scores, targets, counts, protocol)

        arrays = as_array(scores[kept]), targets[kept].cpu().numpy()
        return torch.stack(map_labels(of_label, *arrays, "intervals"))

    def at_k(
        self, scores: Tensor, targets: Tensor, k: int, protocol: Protocol
    ) -> dict[str, Tensor]:
        """P@K, R@K and F1@K, float64 (R,) each."""
        kept = protocol.images_kept(targets)
        counts = torch.stack(counts_at_k(scores[kept], targets[kept], k)).float()
        return at_k_names(k, precision_recall_f1(*(counts @ self.counts[kept])))

    def accuracy_at_k(
        self, scores: Tensor, targets: Tensor, k: int, protocol: Protocol
    ) -> dict[str, Tensor]:
        """Acc@K, float64 (R,)."""
        kept = protocol.images_kept(targets)
        counts, found = self.counts[kept], found_at_k(scores[kept], targets[kept], k)
        return {f"Acc@{k}": (found.float() @ counts).double() / counts.sum(dim=0).clamp(min=1)}

    def at_threshold(
        self, scores: Tensor, targets: Tensor, protocol: Protocol, k: int | None = None
    ) -> dict[str, Tensor]:
        """OP, OR, OF1, CP, CR and CF1 of the labels above the threshold, float64 (R,) each."""
        kept = protocol.images_kept(targets)
        scores, targets, counts = scores[kept], targets[kept], self.counts[kept]
        chunks = [predicted_labels(s, t, THRESHOLD, k) for s, t in pairs(scores, targets)]
        predicted, present = torch.cat(chunks), targets == 1
        masks = predicted & present, predicted, present
        return threshold_figures(Counts(*(_drawn(mask, counts) for mask in masks)), k)


def _drawn(mask: Tensor, counts: Tensor) -> Tensor:
    """Sums the `counts` (N, R) of the images of each label in a mask bool (N, L): (L, R)."""
    images, labels = mask.nonzero(as_tuple=True)
    images = images[labels.argsort(stable=True)]
    ends = labels.bincount(minlength=mask.shape[1]).cumsum(dim=0)
    return _sums(counts, images.numpy(), ends.numpy())


def _ap(
    scores: NDArray[np.floating], targets: NDArray[np.int8], counts: Tensor, protocol: Protocol
) -> Tensor:
    """AP (R,) of one label: its formula, with images as often as they were drawn.

    Known images are summed between one distinct score of a positive and the next, not one by one.
    """
    num_replicates = counts.shape[1]
    ranking, positives, depths, hits = rank_positives(scores, targets, protocol.ties)
    if not len(positives):
        return torch.full((num_replicates,), torch.nan, dtype=torch.float64)
    num_retrieved = _sums(counts, ranking, depths).cumsum_(dim=0)
    new_hits = _sums(counts, positives, hits)
    num_hits = new_hits.cumsum(dim=0)
    num_positives = num_hits[-1].double()
    # In place: for a frequent label each of these has half as many rows as there are images.
    precision = num_hits.div_(num_retrieved.clamp_(min=1))
    ap = precision.mul_(new_hits).sum(dim=0).double() / num_positives
    if protocol.empty == "two_sided":
        ap[counts[np.flatnonzero(targets == 0)].sum(dim=0) == 0] = torch.nan
    return ap


def _sums(counts: Tensor, images: NDArray[np.int64], ends: NDArray[np.int64]) -> Tensor:
    """Sums the `counts` (N, R) of images[: ends[0]], images[ends[0] : ends[1]], ...: (T, R)."""
    starts = torch.from_numpy(np.concatenate([[0], ends[:-1]]))
    return F.embedding_bag(torch.from_numpy(images[: ends[-1]]), counts, starts, mode="sum")


def interval(replicates: Tensor, estimate: float, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of a figure, less the bias of its replicates.

    An image drawn twice raises the AP of its labels, so that all replicates of an mAP of rare
    labels can lie above the mAP itself. The bias, the mean of the replicates less the figure, is
    taken off (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 10): the
    interval says how far the figure varies from one test of this size to the next.

    Args:
        replicates: (R,) of the figure.
        estimate: The figure itself.
        level: How often such an interval should hold the mean over tests of this size.
    """
    tail = (1 - level) / 2
    low, high = np.quantile(replicates.numpy(), [tail, 1 - tail])
    bias = replicates.mean().item() - estimate
    return float(low) - bias, float(high) - bias
