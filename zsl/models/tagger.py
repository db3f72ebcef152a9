"""Backbone and head together."""

from torch import Tensor, nn

from zsl.models.backbone import Backbone
from zsl.models.decoder import MLDecoder


class Tagger(nn.Module):
    """Scores any labels, given as vectors, for images.

    Args:
        backbone: Images to tokens.
        decoder: Tokens and label vectors to logits.
    """

    def __init__(self, backbone: Backbone, decoder: MLDecoder) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder

    def forward(self, images: Tensor, queries: Tensor) -> Tensor:
        """Returns logits (B, L).

        Args:
            images: (B, 3, H, W), uint8 or float in [0, 1].
            queries: float32 (L, W) label vectors.
        """
        return self.decoder(self.backbone(images), queries)
