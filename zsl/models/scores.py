"""Scores of different labels made comparable: each by its own spread, then within the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from zsl.errors import require

_LEAST_STD = 1e-6


@dataclass(frozen=True)
class ScoresConfig:
    """How the scores of labels are made comparable, in evaluation and prediction.

    Args:
        sample: Number of training images whose tokens are kept with the model. By the scores that
            a label gets on them, labels not used, its scores are standardised.
        temperature: How sharply the seen labels compete for an image; 0 turns competition off.

    Raises:
        InputError: A number is out of range.
    """

    sample: int = 256
    temperature: float = 0.5

    def __post_init__(self) -> None:
        """Refuses numbers out of range."""
        require(self.sample >= 2, f"scores.sample is {self.sample}; expected 2 or more.")
        require(
            self.temperature >= 0,
            f"scores.temperature is {self.temperature}; expected 0 or more.",
        )

    def __str__(self) -> str:
        """In words, for the protocol of an evaluation."""
        text = f"each label standardised by {self.sample} training images"
        if self.temperature:
            text += f", then against the seen labels at temperature {self.temperature:g}"
        return text


class PreparedLabels(NamedTuple):
    """What scoring L labels needs of them: they follow, or are, the S seen ones."""

    head: Any
    """What the head prepared of `labels`."""
    labels: Tensor
    """(S or more, W): vectors of the seen labels and of those that are asked for."""
    first: int
    """Where those begin that are asked for: 0, if they begin with the seen labels, or S."""
    sample_scores: Tensor
    """(P, M, S or more): scores of the sample."""
    spread: Tensor
    """(S or more,): how much more a label's scores spread over all training images than over the
    sample, which may have none of a rare label's; 1 where that is not known."""
    log_odds: Tensor
    """(L,): of a label's presence in any image."""


class NormalisedScores(nn.Module):
    """Makes the scores of different labels comparable.

    Of each label, the scores z of each scorer are standardised by those of the sample, added up
    with weights, and standardised again. Then labels compete within the image, the seen ones S
    being a fixed reference, so that a label's score does not depend on which others are queried:

    `c = τ z − log Σ_{s ∈ S} exp(τ z_s)`

    which is standardised once more. The logit is `c − ½ + b`: b are the log-odds of the label's
    presence in any image, and the mean of `exp(c − ½)` is 1 for normal c. The log-odds of a seen
    label are measured; those of others are predicted from their vectors.

    Args:
        config: The settings.
        token_shape: (T, C), shape of an image's tokens.
        seen_vectors: float32 (S, W) vectors of the seen labels.
        num_scorers: Number P of scorers.

    Attributes:
        sample: float16 (M, T, C), tokens of training images.
        seen_log_odds: float32 (S,).
        log_odds_map: float32 (W + 1,): weights and bias of the log-odds of other labels.
        weights: float32 (P,), how much the scores of each scorer count.
    """

    sample: Tensor
    seen_vectors: Tensor
    seen_log_odds: Tensor
    log_odds_map: Tensor
    weights: Tensor

    def __init__(
        self,
        config: ScoresConfig,
        token_shape: tuple[int, int],
        seen_vectors: Tensor,
        num_scorers: int = 1,
    ) -> None:
        super().__init__()
        self.temperature = config.temperature
        num_seen, width = seen_vectors.shape
        self.register_buffer(
            "sample", torch.zeros(config.sample, *token_shape, dtype=torch.float16)
        )
        self.register_buffer("seen_vectors", seen_vectors.detach().clone())
        self.register_buffer("seen_log_odds", torch.zeros(num_seen))
        self.register_buffer("log_odds_map", torch.zeros(width + 1))
        self.register_buffer("weights", torch.ones(num_scorers))

    def log_odds(self, queries: Tensor) -> Tensor:
        """Returns the log-odds (L,) of the presence of labels, given as vectors (L, W)."""
        weights, bias = self.log_odds_map[:-1], self.log_odds_map[-1]
        predicted = nn.functional.normalize(queries.float(), dim=1) @ weights.float() + bias
        # Not vector by vector: thousands of labels would take as many gigabytes.
        both = torch.cat([self.seen_vectors, queries])
        numbers = both.unique(dim=0, return_inverse=True)[1]
        seen, queried = numbers.split([len(self.seen_vectors), len(queries)])
        is_seen = queried[:, None] == seen
        measured = self.seen_log_odds[is_seen.int().argmax(dim=1)]
        return torch.where(is_seen.any(dim=1), measured, predicted)

    def combine(
        self, scores: Tensor, sample_scores: Tensor, spread: Tensor, weights: Tensor
    ) -> Tensor:
        """Returns the normalised scores (B, L), of unit variance on the sample.

        Args:
            scores: (P, B, L) of the P scorers, for labels of which the S seen ones come first.
            sample_scores: (P, M, L), the same of the sample.
            spread: (L,), as in `PreparedLabels`.
            weights: (P,), how much each scorer counts.
        """
        mean, std = _statistics(sample_scores, spread)
        each = weights[:, None, None] / std
        mixed, mixed_sample = (
            ((part - mean) * each).sum(dim=0) for part in (scores, sample_scores)
        )
        standardised = _standardised(mixed, mixed_sample, spread)
        own, sample = (self._compete(part) for part in standardised)
        return _standardised(own, sample, torch.ones_like(spread))[0]

    def _compete(self, scores: Tensor) -> Tensor:
        if not self.temperature:
            return scores
        sharpened = self.temperature * scores
        reference = sharpened[:, : len(self.seen_vectors)]
        return sharpened - reference.logsumexp(dim=1, keepdim=True)

    def forward(self, scores: Tensor, prepared: PreparedLabels) -> Tensor:
        """Returns logits (B, L).

        Args:
            scores: (P, B, S or more), of `prepared.labels`.
            prepared: The labels.
        """
        combined = self.combine(scores, prepared.sample_scores, prepared.spread, self.weights)
        return combined[:, prepared.first :] - 0.5 + prepared.log_odds


def _statistics(sample: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over images (..., M, L), each (..., 1, L)."""
    std, mean = torch.std_mean(sample, dim=-2, keepdim=True)
    return mean, (std * spread).clamp(min=_LEAST_STD)


def _standardised(scores: Tensor, sample: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """Returns scores (B, L), and those (M, L) of the sample, standardised by the sample's."""
    mean, std = _statistics(sample, spread)
    return (scores - mean) / std, (sample - mean) / std
