"""What scoring keeps of an image before it knows a label."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn


class Remembered(NamedTuple):
    """What the scorers of a network make of the tokens of B images, whatever the labels.

    It takes less room than the tokens, and scoring a label by it less work.
    """

    head: Tensor
    """(B, ...)."""
    closed_form: Tensor | None = None
    """(B, ...); None without a closed form."""


def remember(scorer: nn.Module, tokens: Tensor) -> Tensor:
    """Returns what a head makes of tokens whatever the labels, or the tokens."""
    own: Any = getattr(scorer, "remember", None)
    return tokens if own is None else own(tokens)


def answer(scorer: nn.Module, remembered: Tensor, prepared: Any) -> Tensor:
    """Returns a head's logits (B, L) of what it remembered, for prepared queries."""
    own: Any = getattr(scorer, "answer", scorer)
    logits: Tensor = own(remembered, prepared)
    return logits
