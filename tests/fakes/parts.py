"""Parts of tiny models, and of a researcher's own: a head, a loss and a data module."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from zsl.data import ImageConfig, ShapesDataModule
from zsl.errors import require
from zsl.losses import AsymmetricLoss, Loss
from zsl.models import HeadConfig, MLDecoderConfig, TimmBackboneConfig


def tiny_backbone(**changes: Any) -> TimmBackboneConfig:
    return TimmBackboneConfig(**{"name": "test_resnet", "weights": None, "stride": 16, **changes})


def tiny_head(**changes: Any) -> MLDecoderConfig:
    return MLDecoderConfig(**{"embed_dim": 16, "feedforward_dim": 16, **changes})


class OwnHead(nn.Module):
    """A low-rank bilinear map on the brightest token, with a bias for each query's length."""

    def __init__(self, token_dim: int, query_dim: int, rank: int) -> None:
        super().__init__()
        self.image = nn.Linear(token_dim, rank)
        self.label = nn.Linear(query_dim, rank)

    def forward(self, tokens: Tensor, queries: Tensor) -> Tensor:
        return self.image(tokens.amax(dim=1)) @ self.label(queries).T


@dataclass(frozen=True)
class OwnHeadConfig(HeadConfig):
    """What a researcher's config names by `tests.fakes.parts.OwnHeadConfig`.

    Args:
        rank: Of the map.
    """

    rank: int = 8

    def __post_init__(self) -> None:
        require(self.rank >= 1, f"head.rank is {self.rank}; expected 1 or more.")

    def make(self, token_dim: int, seen_vectors: Tensor) -> OwnHead:
        return OwnHead(token_dim, seen_vectors.shape[1], self.rank)


@dataclass(frozen=True)
class RecordingLoss(Loss):
    """The asymmetric loss; notes the shapes of what it was given.

    Args:
        scale: Of the loss.
    """

    scale: float = 1.0
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        assert logits.shape == targets.shape
        self.shapes.append(tuple(logits.shape))
        return self.scale * AsymmetricLoss()(logits, targets)


class OwnDataModule(ShapesDataModule):
    """Few scenes, of which the number is one argument.

    Args:
        num_scenes: In each split.
        images: The square that is made of each scene.
        loading: Further arguments of `MultiLabelDataModule`.
    """

    def __init__(
        self,
        num_scenes: int = 16,
        images: ImageConfig = ImageConfig(size=32),  # noqa: B008
        **loading: Any,
    ) -> None:
        super().__init__(num_scenes, num_scenes, num_scenes, 0, images, **loading)


def randomise(module: nn.Module) -> None:
    """Changes all parameters a little, so that no two labels score alike."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
