"""Dot products with label vectors, as all heads without a decoder score."""

import torch
import torch.nn.functional as F
from torch import Tensor


def unit_dot(vectors: Tensor, queries: Tensor) -> Tensor:
    """Returns `x · v / ‖v‖` (B, L) of vectors x (B, W) and label vectors v (L, W)."""
    # Half-precision logits tie, which spoils rankings.
    with torch.autocast(vectors.device.type, enabled=False):
        vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
        return vectors @ F.normalize(queries, dim=1).to(vectors.dtype).T


def cosine(vectors: Tensor, queries: Tensor) -> Tensor:
    """Returns the cosines (B, L) of vectors (B, W) and label vectors (L, W)."""
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    return unit_dot(F.normalize(vectors, dim=1), queries)
