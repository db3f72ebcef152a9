"""Backbone and head together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from zsl.errors import require
from zsl.models.backbone import Backbone
from zsl.models.heads import make_head


class TaggerNetwork(nn.Module):
    """Scores any labels, given as vectors, for images.

    Args:
        backbone: Images to features, which the decoder takes as tokens: `Backbone`, or a timm model
            without pooling.
        decoder: Turns tokens and label vectors into logits: an `MLDecoder`, or a baseline.
    """

    def __init__(self, backbone: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder

    def forward(self, images: Tensor, *queries: Tensor) -> Tensor:
        """Returns logits (B, L).

        Args:
            images: (B, 3, H, W), as the backbone takes them: `Backbone` uint8, or float in [0, 1].
            queries: float32 (L, W) label vectors; none for a decoder of fixed classes.
        """
        return self.decoder(self.backbone(images), *queries)


def make_network(
    settings: Mapping[str, Any], image_size: int, seen_vectors: Tensor
) -> TaggerNetwork:
    """Makes backbone and head.

    Args:
        settings: The arguments of `zsl.tasks.zero_shot.ZeroShotTask`.
        image_size: Side of the square images in pixels.
        seen_vectors: (S, W) vectors of the seen labels.

    Raises:
        InputError: A setting is out of range, or the backbone or its weights can't be had.
    """
    is_size = isinstance(image_size, int) and image_size > 0
    require(is_size, f"image_size is {image_size!r}; expected a number of pixels, 1 or more.")
    backbone = Backbone(
        settings["backbone"],
        settings["weights"],
        settings["stride"],
        image_size,
        settings["freeze_backbone"],
        pooled=settings["head"] == "clip",
    )
    head = make_head(settings["head"], backbone.token_dim, seen_vectors, settings)
    return TaggerNetwork(backbone, head)
