"""ConSE: a classifier of the seen labels, whose vectors stand in for the image."""

import torch.nn.functional as F
from torch import Tensor, nn

from zsl.errors import require
from zsl.models.scores import cosine
from zsl.models.tokens import ToTokens


class ConSEHead(nn.Module):
    """Scores any labels by the cosine with a convex combination of the seen labels' vectors.

    A linear classifier of the seen labels is trained on the mean of an image's tokens. With p the
    probabilities that it gives the T most probable ones, the vector of the image is
    `Σ_t p_t v_t / ‖v_t‖ / Σ_t p_t`, which is compared with the vector of a label, seen or not.

    Norouzi et al., "Zero-Shot Learning by Convex Combination of Semantic Embeddings",
    arXiv 1312.5650. Their labels exclude each other, so their probabilities are a
    softmax; an image has several of ours, so these are sigmoids.

    Args:
        token_dim: Width C of the backbone's tokens.
        seen_vectors: (S, W) vectors of the seen labels; fixed, saved with the head.
        num_combined: Number T of seen labels in the combination, at most S of them.

    Raises:
        InputError: The number is out of range.
    """

    seen_vectors: Tensor

    def __init__(self, token_dim: int, seen_vectors: Tensor, num_combined: int = 10) -> None:
        super().__init__()
        require(num_combined >= 1, f"num_combined is {num_combined}; expected 1 or more.")
        self.num_combined = min(num_combined, len(seen_vectors))
        self.to_tokens = ToTokens()
        self.classify = nn.Linear(token_dim, len(seen_vectors))
        self.register_buffer("seen_vectors", seen_vectors.detach().clone())

    def forward(self, features: Tensor, queries: Tensor) -> Tensor:
        """Returns cosines (B, L); in training mode the classifier's logits (B, S).

        Args:
            features: Tokens (B, T, C) or a map (B, C, H, W).
            queries: (L, W) label vectors; in training mode those of the seen labels.

        Raises:
            InputError: In training mode there are more or fewer queries than seen labels.
        """
        logits = self.classify(self.to_tokens(features).mean(dim=1))
        if not self.training:
            return cosine(self._combine(logits), queries)
        require(
            len(queries) == len(self.seen_vectors),
            f"ConSE's classifier was asked {len(queries)} labels in training; expected the "
            f"{len(self.seen_vectors)} seen ones.",
        )
        return logits

    def _combine(self, logits: Tensor) -> Tensor:
        """Returns the vectors (B, W) that stand for the images."""
        top, labels = logits.to(self.seen_vectors.dtype).topk(self.num_combined, dim=1)
        # p / Σ p, whatever underflows.
        shares = F.logsigmoid(top).softmax(dim=1)
        return (shares.unsqueeze(2) * F.normalize(self.seen_vectors, dim=1)[labels]).sum(dim=1)
