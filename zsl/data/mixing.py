"""Images of a batch mixed in pairs, and their targets with them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import v2

from zsl.errors import require


@dataclass(frozen=True)
class MixingConfig:
    """How the images of a training batch are mixed, each with another one.

    Mixup blends two images by a weight λ and 1 - λ; cutmix pastes a rectangle of one into the
    other, and λ is the area that is left. Their targets are blended by λ. One of the two, chosen
    by a coin where both are on, is done to every batch, with one λ from Beta(α, α): what timm's
    recipes for ImageNet do by default. Through torchvision, whose draws, unlike timm's from
    NumPy's generator, are those of PyTorch, so that a resumed run repeats them.

    Zhang et al., arXiv 1710.09412; Yun et al., arXiv 1905.04899.

    Args:
        mixup: α of mixup; 0 leaves it out. timm's A2 recipe: 0.1.
        cutmix: α of cutmix; 0 leaves it out. timm's A2 recipe: 1.

    Raises:
        InputError: A number is negative.
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        """Refuses negative numbers."""
        for name in ("mixup", "cutmix"):
            value = getattr(self, name)
            require(value >= 0, f"mixing.{name} is {value}; expected 0 (off) or more.")

    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mixes a batch on its device, by draws from PyTorch's generator.

        Args:
            images: (B, 3, H, W), uint8, or floating and in [0, 1].
            targets: int8 (B, L): 1 present, 0 absent, -1 unknown.

        Returns:
            Images in [0, 1] and targets in [0, 1], floating and of the same shapes; a target is -1
            where that of either image is unknown. Both are as they were if nothing is mixed: with
            both numbers 0, or an image alone.
        """
        choices = [v2.MixUp(alpha=self.mixup)] if self.mixup else []
        choices += [v2.CutMix(alpha=self.cutmix)] if self.cutmix else []
        if not choices or len(images) == 1:
            return images, targets
        # torchvision mixes neighbours, which are one image where augmentation is repeated.
        order = torch.randperm(len(images)).to(images.device)
        pixels = v2.functional.to_dtype(images[order], torch.float32, scale=True)
        # Blended too, what is unknown in a part of the mixture is above 0.
        both = torch.cat([targets.clamp(min=0), targets < 0], dim=1)[order]
        pixels, both = v2.RandomChoice(choices)(pixels, both)
        present, unknown = both[order.argsort()].tensor_split(2, dim=1)
        return pixels[order.argsort()], present.masked_fill(unknown > 0, -1)
