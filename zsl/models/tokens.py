"""Features of any layout as tokens."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from zsl.errors import InputError


def without_autocast(tensor: Tensor) -> AbstractContextManager[object]:
    """Turns autocast off on the tensor's device: half-precision logits tie, which spoils ranks."""
    # The meta device, on which models are made to compare shapes, has no autocast.
    kind = tensor.device.type
    return nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False)


class ToTokens(nn.Module):
    """Turns a map or a sequence into tokens (B, T, C), in reading order.

    Args:
        num_prefix_tokens: Tokens before the spatial ones, e.g. the class token, to leave out.
        channels_last: Maps are (B, H, W, C), as Swin's, instead of (B, C, H, W).
    """

    def __init__(self, num_prefix_tokens: int = 0, channels_last: bool = False) -> None:
        super().__init__()
        self.num_prefix_tokens = num_prefix_tokens
        self.channels_last = channels_last

    @classmethod
    def of(cls, model: Any) -> ToTokens:
        """Reads the layout of its features off a timm model."""
        # Old models such as VOLO have a class token and don't say how many tokens come first.
        has_class_token = getattr(model, "cls_token", None) is not None
        num_prefix_tokens = getattr(model, "num_prefix_tokens", int(has_class_token))
        return cls(num_prefix_tokens, getattr(model, "output_fmt", "NCHW") == "NHWC")

    def forward(self, features: Tensor) -> Tensor:
        """Returns the tokens of a map, or of a sequence (B, prefix + T, C).

        Raises:
            InputError: The features are neither.
        """
        if features.ndim == 3:
            return features[:, self.num_prefix_tokens :]
        if features.ndim != 4:
            raise InputError(
                f"Features of the shape {tuple(features.shape)} are neither a map (B, C, H, W) nor "
                "tokens (B, T, C); leave out the pooling before the head."
            )
        return features.flatten(1, 2) if self.channels_last else features.flatten(2).mT


class OnMeanToken(nn.Module):
    """A head that sees one token, the mean of the backbone's: what remains without attention.

    Args:
        decoder: A `WordMLDecoder` or `GroupedWordMLDecoder`.
    """

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.to_tokens = ToTokens()
        self.decoder = decoder

    def prepare(self, queries: Tensor) -> Any:
        """Returns what the decoder prepares of label vectors (L, W)."""
        return self.decoder.prepare(queries)

    def forward(self, features: Tensor, queries: Any) -> Tensor:
        """Returns logits (B, L) of tokens (B, T, C) or a map for label vectors (L, W)."""
        return self.decoder(self._mean_token(features), queries)

    def remember(self, features: Tensor) -> Tensor:
        """Returns what the decoder needs of the features, whatever the labels."""
        return self.decoder.remember(self._mean_token(features))

    def answer(self, remembered: Tensor, queries: Any) -> Tensor:
        """Returns the logits (B, L) of `forward`, by what `remember` made of the features."""
        return self.decoder.answer(remembered, queries)

    def _mean_token(self, features: Tensor) -> Tensor:
        return self.to_tokens(features).mean(dim=1, keepdim=True)
