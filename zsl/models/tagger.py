"""Backbone and head together."""

from torch import Tensor, nn


class Tagger(nn.Module):
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
