"""Whether an image is like those that a model was validated on."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsl.models.tokens import ToTokens

KEPT = 256
"""Most images that are kept."""
_SHARE = 0.01
_ENOUGH = 50
"""Kept images that are counted: the farthest of them is passed by 2 % of images like these."""
_LEAST = 5
_LEAST_DISTANCE = 1e-6  # Of images that are kept twice.


class FamiliarImages(nn.Module):
    """Tells images apart from those of validation, by the nearest of these.

    An image is described by mean and standard deviation of its tokens: means alone tell photographs
    from photographs, but hardly from the drawings that a small backbone was trained on. Its
    distance is one less the cosine to the nearest image that is kept (Sun et al.,
    "Out-of-Distribution Detection with Deep Nearest Neighbors", arXiv 2204.06507). How familiar it
    is, is the share of the kept images that are at least as far from their nearest other one: a
    conformal p-value, which is .05 or less for 5 % of images like these.

    Args:
        token_dim: Width C of the backbone's tokens.

    Attributes:
        images: float16 (256, 2C), descriptions of validation images; of fewer some rows are 0.
        distances: float32 (256,), of each to its nearest other one.
        number: How many are kept.
    """

    images: Tensor
    distances: Tensor
    number: Tensor

    def __init__(self, token_dim: int) -> None:
        super().__init__()
        self.to_tokens = ToTokens()
        self.register_buffer("images", torch.zeros(KEPT, 2 * token_dim, dtype=torch.float16))
        self.register_buffer("distances", torch.zeros(KEPT))
        self.register_buffer("number", torch.tensor(0))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Checkpoints of earlier versions have none of this.
        for name, buffer in self.named_buffers():
            state_dict.setdefault(prefix + name, buffer)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def describe(self, features: Tensor) -> Tensor:
        """Returns means and standard deviations, float32 (B, 2C).

        Args:
            features: Tokens (B, T, C) or a map (B, C, H, W).
        """
        largest = torch.finfo(self.images.dtype).max
        std, mean = torch.std_mean(self.to_tokens(features).float(), dim=1, correction=0)
        return torch.cat([mean, std], dim=1).clamp(-largest, largest)

    def keep(self, descriptions: Tensor) -> None:
        """Keeps descriptions (N, 2C) of validation images, 256 of them spread evenly over all."""
        number = min(len(descriptions), KEPT)
        rows = (
            torch.arange(number, device=descriptions.device) * len(descriptions) // max(number, 1)
        )
        self.images.zero_()
        self.images[:number] = descriptions[rows].to(self.images)
        self.number.fill_(number)
        if number > 1:
            cosines = self._cosines(self.images[:number].float()).fill_diagonal_(-1)
            self.distances[:number] = 1 - cosines.max(dim=1).values

    def forward(self, features: Tensor) -> Tensor:
        """Returns how familiar images are, float32 (B,): 1/(N+1) to 1 of N kept ones.

        Args:
            features: What the backbone makes of B images.
        """
        number = int(self.number)
        if number < 2:
            return torch.ones(len(features), device=features.device)
        farther = (self.distances[:number] >= self._nearest(features).unsqueeze(1)).sum(dim=1)
        return (1 + farther) / (1 + number)

    def is_unlike(self, features: Tensor) -> Tensor:
        """Returns bool (B,): whether images are farther than 99 of 100 like the kept ones are.

        Where many are kept, that is counted, or is the farthest of them. Of few, the farthest tells
        too little: of nine it is passed by one image in ten. Then a Student's t distribution of the
        logarithms of their distances tells the limit.

        Args:
            features: What the backbone makes of B images.
        """
        number = int(self.number)
        if number < _LEAST:
            return torch.zeros(len(features), dtype=torch.bool, device=features.device)
        if number >= _ENOUGH:
            return self(features) <= max(_SHARE, 1 / (1 + number))
        from scipy.special import stdtrit  # Slow to import, and of no use where many are kept.

        logarithms = self.distances[:number].clamp(min=_LEAST_DISTANCE).log()
        spread = stdtrit(number - 1, 1 - _SHARE) * math.sqrt(1 + 1 / number)
        return self._nearest(features).log() > logarithms.mean() + spread * logarithms.std()

    def _nearest(self, features: Tensor) -> Tensor:
        """Returns the distances (B,) to the nearest kept images."""
        return 1 - self._cosines(self.describe(features)).max(dim=1).values

    def _cosines(self, descriptions: Tensor) -> Tensor:
        kept = self.images[: int(self.number)].float()
        return F.normalize(descriptions, dim=1) @ F.normalize(kept, dim=1).T
