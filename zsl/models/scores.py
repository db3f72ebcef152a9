"""Scores of different labels made comparable: each by its own spread, then within the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from zsl.errors import require
from zsl.models.seen_labels import seen_positions

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
        text = f"each label is standardised by its scores on {self.sample} training images"
        if self.temperature:
            text += f", then competes with the seen labels (temperature {self.temperature:g})"
        return text


class Statistics(NamedTuple):
    """What scores are standardised by: those of a sample of M images."""

    mean: Tensor
    """(..., 1, L)."""
    std: Tensor
    """(..., 1, L)."""

    @classmethod
    def of(cls, sample: Tensor, spread: Tensor) -> Statistics:
        """Measures scores (..., M, L) of the sample; `spread` (L,) is that of `PreparedLabels`."""
        std, mean = torch.std_mean(sample, dim=-2, keepdim=True)
        return cls(mean, (std * spread).clamp(min=_LEAST_STD))

    def standardise(self, scores: Tensor) -> Tensor:
        """Returns scores (..., B, L), less the mean and by the standard deviation."""
        return (scores - self.mean) / self.std

    def select(self, columns: Tensor) -> Statistics:
        """Returns those of some labels, int64 (N,)."""
        return Statistics(self.mean[..., columns], self.std[..., columns])


class Normalisation(NamedTuple):
    """Makes scores of L labels comparable, as `NormalisedScores` says; the first S are seen."""

    weights: Tensor
    """(P, 1, 1): how much each of the P scorers counts."""
    separate: Statistics
    """Of each scorer, (P, 1, L)."""
    mixed: Statistics
    """Of their weighted sum, (1, L)."""
    competing: Statistics
    """Of that after competition, (1, L)."""
    temperature: float
    num_seen: int

    def combine(self, scores: Tensor, competition: Tensor | None = None) -> Tensor:
        """Returns the normalised scores (B, L) of scores (P, B, L).

        Args:
            scores: Of labels that begin with the seen ones, unless their competition is given.
            competition: (B,), from `compete`.
        """
        mixed = self.mix(scores)
        if competition is None:
            competition = self.compete(mixed)
        return self.competing.standardise(_against(mixed, competition, self.temperature))

    def mix(self, scores: Tensor) -> Tensor:
        """Returns the weighted sum (B, L) of scores (P, B, L), each part and it standardised."""
        mixed = (self.weights * self.separate.standardise(scores)).sum(dim=0)
        return self.mixed.standardise(mixed)

    def compete(self, mixed: Tensor) -> Tensor:
        """Returns what the seen labels, the first of `mixed` (B, L), hold against any, (B,)."""
        return _competition(mixed, self.temperature, self.num_seen)

    def select(self, columns: Tensor) -> Normalisation:
        """Returns that of some labels, int64 (N,)."""
        return self._replace(
            separate=self.separate.select(columns),
            mixed=self.mixed.select(columns),
            competing=self.competing.select(columns),
        )


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
    normalisation: Normalisation
    """Measured of the sample, with the weights that were chosen."""

    def logits(self, scores: Tensor, competition: Tensor | None = None) -> Tensor:
        """Returns logits (B, L) of scores (P, B, S or more).

        Args:
            scores: Of all labels; with the competition, of those that are asked for.
            competition: (B,), from `Normalisation.compete`.
        """
        if competition is None:
            return self.normalisation.combine(scores)[:, self.first :] - 0.5 + self.log_odds
        asked = torch.arange(self.first, len(self.labels), device=scores.device)
        combined = self.normalisation.select(asked).combine(scores, competition)
        return combined - 0.5 + self.log_odds


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
        self.config = config
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
        positions = seen_positions(queries, self.seen_vectors)
        measured = self.seen_log_odds[positions.clamp(min=0)]
        return torch.where(positions >= 0, measured, predicted)

    def normalisation(
        self, sample: Tensor, spread: Tensor, weights: Tensor | None = None
    ) -> Normalisation:
        """Returns what makes the scores of labels comparable, of which the S seen ones come first.

        Args:
            sample: (P, M, L), scores of the sample by the P scorers.
            spread: (L,), as in `PreparedLabels`.
            weights: (P,), how much each scorer counts; None takes those that were chosen.
        """
        each = (self.weights if weights is None else weights)[:, None, None]
        temperature, num_seen = self.config.temperature, len(self.seen_vectors)
        separate = Statistics.of(sample, spread)
        sum_ = (each * separate.standardise(sample)).sum(dim=0)
        mixed = Statistics.of(sum_, spread)
        of_all = mixed.standardise(sum_)
        own = _against(of_all, _competition(of_all, temperature, num_seen), temperature)
        competing = Statistics.of(own, torch.ones_like(spread))
        return Normalisation(each, separate, mixed, competing, temperature, num_seen)


def _against(scores: Tensor, competition: Tensor, temperature: float) -> Tensor:
    """Returns scores (B, L), at the temperature if there is one, less the competition (B,)."""
    return (temperature * scores if temperature else scores) - competition[:, None]


def _competition(scores: Tensor, temperature: float, num_seen: int) -> Tensor:
    """Returns the reference (B,) of the seen labels, the first of scores (B, L); 0 without any."""
    if not temperature:
        return scores.new_zeros(len(scores))
    return (temperature * scores[:, :num_seen]).logsumexp(dim=1)
