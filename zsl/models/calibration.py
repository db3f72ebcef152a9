"""Probabilities and decisions for any label: what its logit means, and where a yes begins.

`zsl.tasks.calibration` fits it on validation images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from zsl.errors import InputError

LEVELS = torch.linspace(-7, 7, 141, dtype=torch.float64).sigmoid().float()
"""Probabilities at which decisions are counted on validation images."""


class Goal(NamedTuple):
    """What the decisions should reach: the best F1, or a precision with as much recall as it has.

    >>> Goal.parse("precision=0.9")
    Goal(precision=0.9)
    """

    precision: float | None = None
    """Least precision; None is the best F1."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `f1`, or `precision=P`.

        Raises:
            InputError: It is neither, or P is not between 0 and 1.
        """
        name, _, value = str(text).partition("=")
        try:
            least = float(value)
        except ValueError:
            least = math.nan
        if text == "f1":
            return cls()
        if name == "precision" and 0 < least < 1:
            return cls(least)
        raise InputError(
            f"The goal of decisions is {text!r}; expected f1, or precision= and a number between 0 "
            "and 1, such as precision=0.9."
        )

    def __str__(self) -> str:
        """As `parse` reads it."""
        return "f1" if self.precision is None else f"precision={self.precision:g}"


class Answers(NamedTuple):
    """How logits of L labels become probabilities and decisions."""

    scale: Tensor
    """(L,): factor of the logit."""
    shift: Tensor
    """(L,): added to it."""
    thresholds: Tensor
    """(L,): least probability of a yes; above 1 where the goal is out of reach."""
    similarity: Tensor
    """(L,): cosine to the seen label that it is most like."""
    nearest: Tensor
    """int64 (L,): which that is; -1 where there is none."""
    is_unlike: Tensor
    """bool (L,): less like any seen label than nearly all of these are like another one."""

    def select(self, columns: Sequence[int]) -> Answers:
        """Returns those of some of the labels."""
        return Answers(*(part[list(columns)] for part in self))

    def logits(self, logits: Tensor) -> Tensor:
        """Returns the log-odds (B, L) of logits (B, L)."""
        return logits * self.scale + self.shift

    def probabilities(self, logits: Tensor) -> Tensor:
        """Returns the probabilities (B, L) of logits (B, L)."""
        return self.logits(logits).sigmoid()


class Calibration(nn.Module):
    """Makes probabilities of logits, and thresholds for them, of labels seen or not.

    `p = σ(a s + b m + c + o)`: s is the logit, m the label's mean logit over the stored sample of
    images, where the model has one. a, b and c are fitted by logistic regression, once for seen
    labels and once for all others; o is an offset of each seen label (Platt, 1999, with a prior).

    The threshold of a label is the geometric mean of two: the best one for all labels of its kind,
    by their targets on validation images; and the best one for the label itself, by the
    probabilities that it gets on the sample, whose targets need not be known. The latter is the
    threshold of the highest expected F1, `2 Σ_{p ≥ t} p / (#{p ≥ t} + Σ p)` (Lipton et al.,
    "Optimal Thresholding of Classifiers to Maximize F1 Measure", arXiv 1402.1892). For a precision
    it is the higher of the two.

    Args:
        num_seen: Number S of seen labels.

    Attributes:
        weights: float32 (2, 3), a, b and c of seen labels, and of others; 0 until they are fitted.
        offsets: float32 (S,).
        precision: float32 (2, 141) of decisions at `LEVELS` on validation images, of seen labels
            and of held-out ones, a wrong yes more than there was being counted.
        recall: float32 (2, 141).
        least_similarity: Least cosine to another label of all but a few seen ones.
    """

    weights: Tensor
    offsets: Tensor
    precision: Tensor
    recall: Tensor
    least_similarity: Tensor

    def __init__(self, num_seen: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.zeros(2, 3))
        self.register_buffer("offsets", torch.zeros(num_seen))
        self.register_buffer("precision", torch.zeros(2, len(LEVELS)))
        self.register_buffer("recall", torch.zeros(2, len(LEVELS)))
        self.register_buffer("least_similarity", torch.tensor(-1.0))

    @property
    def is_fitted(self) -> bool:
        """Whether there are probabilities."""
        return bool(self.weights.any())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Checkpoints of earlier versions have none of this.
        for name, buffer in self.named_buffers():
            state_dict.setdefault(prefix + name, buffer)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def log_odds(self, means: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Returns scale and shift, (L,) each.

        Args:
            means: (L,) mean logits over the sample; 0 where there is none.
            positions: int64 (L,), which seen label each is, or -1.
        """
        is_seen = positions >= 0
        scale, of_mean, constant = self.weights[(~is_seen).long()].T
        offsets = torch.where(is_seen, self.offsets[positions.clamp(min=0)], 0)
        return scale, of_mean * means + constant + offsets

    def thresholds(self, sample: Tensor | None, positions: Tensor, goal: Goal) -> Tensor:
        """Returns the thresholds (L,).

        Args:
            sample: Probabilities (M, L) of the sample; None where there is none.
            positions: int64 (L,), which seen label each is, or -1.
            goal: What they should reach.
        """
        common = torch.stack([self._common(row, goal) for row in (0, 1)])[(positions < 0).long()]
        if sample is None:
            return common
        if goal.precision is None:
            return (common * expected_f1_threshold(sample)).sqrt()
        return torch.maximum(common, expected_precision_threshold(sample, goal.precision))

    def _common(self, row: int, goal: Goal) -> Tensor:
        """Returns the best threshold () of labels of one kind; 2 where none reaches the goal."""
        precision, recall = self.precision[row], self.recall[row]
        levels = LEVELS.to(precision)
        if goal.precision is None:
            f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
            return levels[f1.argmax()]
        reached = (precision >= goal.precision).nonzero().flatten()
        return levels[reached[0]] if len(reached) else levels.new_tensor(2.0)


def expected_f1_threshold(probabilities: Tensor) -> Tensor:
    """Returns thresholds (L,) of the highest expected F1 of probabilities (M, L)."""
    best = probabilities.sort(dim=0, descending=True).values
    hits, predicted = best.cumsum(dim=0), torch.arange(1, len(best) + 1, device=best.device)
    f1 = 2 * hits / (predicted.unsqueeze(1) + hits[-1])
    last = f1.argmax(dim=0, keepdim=True)
    following = (last + 1).clamp(max=len(best) - 1)
    return (best.gather(0, last) + best.gather(0, following)).squeeze(0) / 2


def expected_precision_threshold(probabilities: Tensor, least: float) -> Tensor:
    """Returns thresholds (L,) above which probabilities (M, L) have a mean of `least` or more.

    At most `least` itself, which is enough whatever the probabilities are.
    """
    best = probabilities.sort(dim=0, descending=True).values
    means = best.cumsum(dim=0) / torch.arange(1, len(best) + 1, device=best.device).unsqueeze(1)
    number = (means >= least).sum(dim=0, keepdim=True)
    lowest = best.gather(0, (number - 1).clamp(min=0)).squeeze(0)
    return torch.where(number.squeeze(0) > 0, lowest.clamp(max=least), least)
