"""Losses on the logits of labels, for targets of which some may be unknown."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from zsl.errors import require


class Loss(ABC):
    """A loss on logits and multi-label targets; a config names a subclass by its class path.

    A subclass is a frozen dataclass of plain values, so that a checkpoint can record it.
    """

    scores_are_log_odds: ClassVar[bool] = True
    """Whether a sigmoid makes probabilities of logits that were trained with the loss."""
    scores_are_softmax: ClassVar[bool] = False
    """Whether a softmax over all fixed classes does."""

    @abstractmethod
    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Returns the scalar loss.

        Args:
            logits: (B, L), any floating dtype; computed in float32.
            targets: (B, L): 1 present, 0 absent, between the two for a degree, negative for
                unknown, which is left out.
        """


@dataclass(frozen=True)
class AsymmetricLoss(Loss):
    """Asymmetric loss: binary cross-entropy that plays easy negatives down.

    With `p = sigmoid(logit)` and `p_m = max(p - clip, 0)`, a target `y` costs

    `- y (1 - p)^γ₊ log(p) - (1 - y) p_m^γ₋ log(1 - p_m)`.

    The focusing weights count as constants in the gradient, as in the published training code
    of ML-Decoder. Costs are summed over labels, and over images averaged or summed.

    Ben-Baruch et al., "Asymmetric Loss For Multi-Label Classification", arXiv 2009.14119.

    A training that explodes: `configs/sweeps/asymmetric_ladder.yaml`.

    Args:
        gamma_negative: Focusing γ₋ of absent labels.
        gamma_positive: Focusing γ₊ of present labels.
        clip: Probability below which an absent label costs nothing.
        reduction: `mean` or `sum` over the images of a batch; the published code sums. Adam divides
            the scale of the loss out of its step, but not of a weight decay that is added to the
            gradient: beside a sum over B images, that weighs B times less than beside a mean.

    Raises:
        InputError: A setting is out of range.
    """

    gamma_negative: float = 4.0
    gamma_positive: float = 0.0
    clip: float = 0.05
    reduction: Literal["mean", "sum"] = "mean"

    def __post_init__(self) -> None:
        """Refuses numbers of which no loss can be made."""
        for name in ("gamma_negative", "gamma_positive"):
            value = getattr(self, name)
            require(value >= 0, f"loss.{name} is {value}; expected 0 or more.")
        require(0 <= self.clip < 1, f"loss.clip is {self.clip}; expected 0 to below 1.")
        _check_reduction(self.reduction)

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Returns the scalar loss, for logits (B, L) and targets (B, L)."""
        logits = logits.float()
        known = targets >= 0
        present = targets.clamp(min=0).float()
        probability = logits.sigmoid()
        shifted = (probability - self.clip).clamp(min=0)
        with torch.no_grad():
            weight_present = (1 - probability) ** self.gamma_positive
            weight_absent = shifted**self.gamma_negative
        loss = -(
            present * weight_present * F.logsigmoid(logits)
            + (1 - present) * weight_absent * (1 - shifted).clamp(min=1e-8).log()
        )
        total = (loss * known).sum()
        return total / len(logits) if self.reduction == "mean" else total


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """Binary cross-entropy of each label by itself, averaged over labels and images.

    As `timm.loss.BinaryCrossEntropy`, whose A2 recipe for ImageNet has `target_threshold` 0.2:
    Wightman, Touvron and Jégou, "ResNet strikes back", arXiv 2110.00476.

    Args:
        target_threshold: A target above it, as mixed images have them, counts as present, any
            other as absent; None takes targets as they are.
        label_smoothing: Moves each target by this part of its way to 0.5.
        reduction: `mean` over the known targets of a batch, as timm and PyTorch have it, or their
            `sum`. The mean over L labels is L times smaller than the asymmetric loss, whose costs
            are summed over labels. A learning rate of Adam or LAMB stays as it is under another
            scale, one of SGD has to be L times larger; Adam's decay, see `AsymmetricLoss`.

    Raises:
        InputError: A setting is out of range.
    """

    target_threshold: float | None = None
    label_smoothing: float = 0.0
    reduction: Literal["mean", "sum"] = "mean"

    def __post_init__(self) -> None:
        """Refuses numbers of which no loss can be made."""
        threshold = self.target_threshold
        require(
            threshold is None or 0 <= threshold < 1,
            f"loss.target_threshold is {threshold}; expected 0 to below 1, or null for none.",
        )
        _check_smoothing(self.label_smoothing)
        _check_reduction(self.reduction)

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Returns the scalar loss, for logits (B, L) and targets (B, L)."""
        known = targets >= 0
        goals = targets.float() * (1 - self.label_smoothing) + self.label_smoothing / 2
        if self.target_threshold is not None:
            goals = (goals > self.target_threshold).float()
        costs = F.binary_cross_entropy_with_logits(logits.float(), goals, reduction="none")
        total = (costs * known).sum()
        return total / known.sum().clamp(min=1) if self.reduction == "mean" else total


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Cross-entropy of the softmax over the labels, where each image has one; mean over images.

    Targets may be mixed: present by a degree that sums to 1 over the labels.

    Args:
        label_smoothing: Part of the target that is spread evenly over all L labels.

    Raises:
        InputError: The smoothing is out of range.
    """

    scores_are_log_odds: ClassVar[bool] = False
    scores_are_softmax: ClassVar[bool] = True

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Refuses numbers of which no loss can be made."""
        _check_smoothing(self.label_smoothing)

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Returns the scalar loss, for logits (B, L) and targets (B, L).

        Raises:
            InputError: A target is unknown.
        """
        require(
            bool((targets >= 0).all()),
            "CrossEntropy found unknown targets, but its softmax compares all labels of an image; "
            "take zsl.losses.BinaryCrossEntropy, which leaves them out.",
        )
        return F.cross_entropy(
            logits.float(), targets.float(), label_smoothing=self.label_smoothing
        )


@dataclass(frozen=True)
class RankingLoss(Loss):
    """Pairwise ranking loss (RankNet): each present label should score above each absent one.

    An image with the present labels P and the absent labels N costs

    `1 / (|P| |N|) Σ_{p ∈ P, n ∈ N} log(1 + exp(s_n - s_p))`,

    and 0 if either is empty; the mean is taken over all images. A target between 0 and 1 is present
    by that degree and absent by the rest, in the sum and in the sizes.

    Zhang, Gong and Shah, "Fast Zero-Shot Image Tagging", arXiv 1605.09759.

    Memory grows with the number of present labels of a batch, of each degree, times L.
    """

    scores_are_log_odds: ClassVar[bool] = False

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Returns the scalar loss, for logits (B, L) and targets (B, L)."""
        logits = logits.float()
        present = targets.clamp(min=0).float()
        absent = (1 - present) * (targets >= 0)
        image, label = present.nonzero(as_tuple=True)
        costs = F.softplus(logits[image] - logits[image, label].unsqueeze(1))
        costs = present[image, label] * (absent[image] * costs).sum(dim=1)
        num_pairs = (present.sum(dim=1) * absent.sum(dim=1))[image]
        # Without an absent label both are 0.
        return (costs / num_pairs.clamp(min=1e-8)).sum() / len(logits)


def _check_smoothing(label_smoothing: float) -> None:
    require(
        0 <= label_smoothing < 1,
        f"loss.label_smoothing is {label_smoothing}; expected 0 to below 1.",
    )


def _check_reduction(reduction: str) -> None:
    require(reduction in ("mean", "sum"), f"loss.reduction is {reduction!r}; expected mean or sum.")
