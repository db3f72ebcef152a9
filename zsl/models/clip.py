"""CLIP as it is: the cosine of image and text."""

from torch import Tensor, nn

from zsl.models.scores import cosine
from zsl.models.tokens import ToTokens


class CLIPHead(nn.Module):
    """Scores any labels, given as vectors of CLIP's text tower, by `100 cos(x, v)`.

    x is the embedding of CLIP's image tower, which `Backbone` returns as one token if it is made
    with `pooled`. There are no parameters; 100 is what CLIP's own temperature was trained to.

    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
    arXiv 2103.00020.
    """

    def __init__(self) -> None:
        super().__init__()
        self.to_tokens = ToTokens()

    def forward(self, features: Tensor, queries: Tensor) -> Tensor:
        """Returns logits (B, L) of embeddings (B, 1, W) for label vectors (L, W)."""
        return 100 * cosine(self.to_tokens(features).mean(dim=1), queries)
