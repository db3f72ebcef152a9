"""Parts of tiny models, and a researcher's own: head, loss, encoder, backbone, data module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from zsl.data import ImageConfig, ShapesDataModule
from zsl.errors import require
from zsl.labels import LabelEncoder
from zsl.labels.encoders.cache import Embedded
from zsl.labels.encoders.encoder import Scale
from zsl.losses import AsymmetricLoss, Loss
from zsl.models import BackboneConfig, HeadConfig, MLDecoderConfig, TimmBackboneConfig


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


class OwnEncoder(LabelEncoder):
    """Counts the letters of a name.

    Args:
        alphabet: The letters that are counted.
        scale: As of every encoder.
    """

    def __init__(self, alphabet: str = "abcdefghijklmnopqrstuvwxyz", scale: Scale | None = None):
        super().__init__(scale)
        self.alphabet = alphabet

    @property
    def arguments(self) -> dict[str, Any]:
        return {"alphabet": self.alphabet}

    def embed(self, names: Sequence[str]) -> Embedded:
        rows = [[float(name.count(letter)) for letter in self.alphabet] for name in names]
        return Embedded(torch.tensor(rows), list(names), self.alphabet)


class OwnBackbone(nn.Module):
    """Cuts images into patches."""

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.token_dim = 8
        self.cut = nn.Conv2d(3, self.token_dim, patch, stride=patch)

    def forward(self, images: Tensor) -> Tensor:
        return self.cut(images.float() / 255).flatten(2).mT


@dataclass(frozen=True)
class OwnBackboneConfig(BackboneConfig):
    """What makes an `OwnBackbone`.

    Args:
        patch: Side of a patch in pixels.
        frozen: Trains the head alone.
    """

    patch: int = 16
    frozen: bool = False

    def make(self, image_size: int) -> OwnBackbone:
        return OwnBackbone(self.patch).requires_grad_(not self.frozen)


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
