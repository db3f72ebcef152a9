"""Metrics of torchmetrics, over all processes of a training."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from zsl.errors import require
from zsl.metrics.evaluation import at_k_names, check_finite
from zsl.metrics.per_image import (
    accuracy_at_k,
    at_threshold,
    check_threshold,
    coverage,
    precision_recall_f1_at_k,
)
from zsl.metrics.protocol import Protocol, label_counts


class Collector(Metric):
    """Collects the scores and targets of a whole split, over all processes.

    Distributed samplers repeat images to make shares equal: an image is kept once.
    """

    full_state_update = False
    index: list[Tensor]
    scores: list[Tensor]
    targets: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ("index", "scores", "targets"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, index: Tensor, scores: Tensor, targets: Tensor) -> None:
        """Adds a batch.

        Args:
            index: int64 (B,), the images' positions in the split.
            scores: (B, L), any floating dtype, kept as float32.
            targets: int8 (B, L).
        """
        self.index.append(index)
        self.scores.append(scores.float())
        self.targets.append(targets)

    def collected(self) -> tuple[list[int], Tensor, Tensor]:
        """Returns N indices, ascending, scores float32 (N, L) and targets int8 (N, L).

        Tensors are on the CPU, which has float64 and more memory than the device. The indices
        are a list, since torchmetrics makes a scalar of a tensor with one element.

        Raises:
            InputError: A score is not finite.
        """
        index, order = dim_zero_cat(self.index).cpu().sort(stable=True)
        first = torch.ones_like(index, dtype=torch.bool)
        first[1:] = index[1:] != index[:-1]
        order = order[first]
        scores, targets = dim_zero_cat(self.scores).cpu(), dim_zero_cat(self.targets).cpu()
        check_finite(scores)
        index = index[first]
        if not torch.equal(order, torch.arange(len(scores))):  # A copy can take gigabytes.
            scores, targets = scores[order], targets[order]
        return index.tolist(), scores, targets


class Predictions(Collector):
    """The scores and targets of a split, as the result of a metric."""

    def compute(self) -> tuple[list[int], Tensor, Tensor]:
        """Returns N indices, ascending, scores float32 (N, L) and targets int8 (N, L)."""
        return self.collected()


class MeanAveragePrecision(Collector):
    """Exact mAP over the labels.

    Args:
        protocol: Which images and labels count, and how ties do.
    """

    higher_is_better = True

    def __init__(self, protocol: Protocol | None = None) -> None:
        super().__init__()
        self.protocol = protocol or Protocol()

    def compute(self) -> Tensor:
        """Returns the mAP."""
        _, scores, targets = self.collected()
        kept = self.protocol.images_kept(targets)
        ap = self.protocol.average_precision(scores[kept], targets[kept])
        return self.protocol.mean(ap, label_counts(targets[kept])[0]).float()


class PrecisionRecallF1AtK(Collector):
    """Micro-averaged P@K, R@K and F1@K of each image's K best labels.

    Args:
        k: 1 to the number of labels.
        protocol: Which images count.
    """

    higher_is_better = True

    def __init__(self, k: int, protocol: Protocol | None = None) -> None:
        super().__init__()
        require(k >= 1, f"K is {k}; expected 1 or more.")
        self.k = k
        self.protocol = protocol or Protocol()

    def compute(self) -> dict[str, Tensor]:
        """Returns P@K, R@K and F1@K by these names.

        Raises:
            InputError: There are fewer labels than K.
        """
        _, scores, targets = self.collected()
        kept = self.protocol.images_kept(targets)
        figures = precision_recall_f1_at_k(scores[kept], targets[kept], self.k)
        return at_k_names(self.k, [torch.tensor(value) for value in figures])


class PrecisionRecallF1AtThreshold(Collector):
    """Overall and per-class precision, recall and F1 above a probability.

    Args:
        threshold: Between 0 and 1.
        k: Leaves only an image's K best labels of them.
    """

    higher_is_better = True

    def __init__(self, threshold: float = 0.5, k: int | None = None) -> None:
        super().__init__()
        check_threshold(threshold)
        require(k is None or k >= 1, f"K is {k}; expected 1 or more, or None for all.")
        self.threshold = threshold
        self.k = k

    def compute(self) -> dict[str, Tensor]:
        """Returns OP, OR, OF1, CP, CR and CF1 by these names, or by `OP@K` and so on.

        Raises:
            InputError: There are fewer labels than K.
        """
        _, scores, targets = self.collected()
        figures = at_threshold(scores, targets, self.threshold, self.k)
        return {name: torch.tensor(value) for name, value in figures.items()}


class AccuracyAtK(Collector):
    """Share of the images whose one label is among the K that score highest.

    Args:
        k: 1 to the number of labels.
    """

    higher_is_better = True

    def __init__(self, k: int = 1) -> None:
        super().__init__()
        require(k >= 1, f"K is {k}; expected 1 or more.")
        self.k = k

    def compute(self) -> Tensor:
        """Returns the accuracy.

        Raises:
            InputError: There are fewer labels than K, or an image has none or several.
        """
        _, scores, targets = self.collected()
        return torch.tensor(accuracy_at_k(scores, targets, self.k))


class Coverage(Collector):
    """How many of its best labels an image needs until all its true ones are there."""

    higher_is_better = False

    def compute(self) -> Tensor:
        """Returns the mean over the images with a positive."""
        return torch.tensor(coverage(*self.collected()[1:]))
