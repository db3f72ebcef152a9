"""A bilinear map in closed form: what ridge regression finds before any training.

Romera-Paredes and Torr, "An embarrassingly simple approach to zero-shot learning", ICML 2015.
`zsl.tasks.ridge` solves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsl.errors import require
from zsl.models.heads import HeadConfig
from zsl.models.tokens import ToTokens, without_autocast

_PRODUCTS_AT_ONCE = 2**25


@dataclass(frozen=True)
class ClosedFormConfig(HeadConfig):
    """A bilinear map from tokens to label vectors, solved before the first step, never trained.

    Args:
        local_tokens: Beside the mean of all tokens counts the mean over the label's best ones, so
            many of them; 0 leaves that out, as the published closed form does.
        own_classes: The map starts from the backbone's own classifier instead of from zero, where
            its classes have names: those of ImageNet.

    Raises:
        InputError: The number is out of range.
    """

    scores_are_log_odds: ClassVar[bool] = False
    trains_queries: ClassVar[bool] = False

    local_tokens: int = 8
    own_classes: bool = True

    def __post_init__(self) -> None:
        """Refuses a negative number."""
        require(
            self.local_tokens >= 0,
            f"closed_form.local_tokens is {self.local_tokens}; expected 0 or more.",
        )

    @property
    def num_scores(self) -> int:
        """Number of scores that `ClosedFormHead.separate` returns."""
        return 2 if self.local_tokens else 1

    def make(self, token_dim: int, seen_vectors: Tensor) -> ClosedFormHead:
        """Makes the map, which is yet to be solved."""
        return ClosedFormHead(token_dim, seen_vectors.shape[1], self)


class ClosedFormHead(nn.Module):
    """Scores any labels, given as vectors, by `(x − μ)ᵀ A v / ‖v‖` of tokens x.

    The score of an image is the mean over all tokens, plus the mean over the label's best ones if
    there are `local_tokens`. Buffers, zero until they are solved, are μ, A and `Aᵀ Cov(x) A`.

    Args:
        token_dim: Width C of the backbone's tokens.
        query_dim: Width W of the label vectors.
        config: What of the tokens counts.
    """

    mean: Tensor
    map: Tensor
    covariance: Tensor

    def __init__(self, token_dim: int, query_dim: int, config: ClosedFormConfig) -> None:
        super().__init__()
        self.config = config
        self.to_tokens = ToTokens()
        self.register_buffer("mean", torch.zeros(token_dim))
        self.register_buffer("map", torch.zeros(token_dim, query_dim))
        self.register_buffer("covariance", torch.zeros(query_dim, query_dim))

    def deviation(self, queries: Tensor) -> Tensor:
        """Standard deviations (L,) of the scores of all tokens, over all training images."""
        directions = F.normalize(queries, dim=1).to(self.covariance)
        return ((directions @ self.covariance) * directions).sum(dim=1).clamp(min=0).sqrt()

    def forward(self, features: Tensor, queries: Tensor) -> Tensor:
        """Returns scores (B, L) of tokens (B, T, C) or a map for label vectors (L, W)."""
        return torch.stack(self.separate(features, queries)).sum(dim=0)

    def separate(self, features: Tensor, queries: Tensor) -> list[Tensor]:
        """Returns what `forward` adds up: scores (B, L) of the best tokens, if any, and of all."""
        return self.separate_answers(self.remember(features), queries)

    def remember(self, features: Tensor) -> Tensor:
        """Returns what scoring needs of the features, whatever the labels: (B, T, W)."""
        tokens = self.to_tokens(features)
        with without_autocast(tokens):
            dtype = torch.promote_types(self.mean.dtype, torch.float32)
            return (tokens.to(dtype) - self.mean) @ self.map.to(dtype)

    def answer(self, remembered: Tensor, queries: Tensor) -> Tensor:
        """Returns the scores of `forward`, by what `remember` made of the features."""
        return torch.stack(self.separate_answers(remembered, queries)).sum(dim=0)

    def separate_answers(self, projected: Tensor, queries: Tensor) -> list[Tensor]:
        """Returns the scores of `separate`, by what `remember` made of the features."""
        with without_autocast(projected):
            directions = F.normalize(queries, dim=1).to(projected.dtype)
            whole = projected.mean(dim=1) @ directions.T
            number = min(self.config.local_tokens, projected.shape[1])
            if not number:
                return [whole]
            best = [
                (projected @ part.T).topk(number, dim=1).values.mean(dim=1)
                for part in _parts(directions, projected[:, :, 0].numel())
            ]
            return [torch.cat(best, dim=1), whole]


def _parts(directions: Tensor, num_tokens: int) -> Sequence[Tensor]:
    """Cuts directions (L, W) into parts, so that memory does not grow with their number."""
    if torch.compiler.is_compiling():  # A graph must serve other numbers of labels and tokens.
        return [directions]
    return directions.split(max(1, _PRODUCTS_AT_ONCE // num_tokens))
