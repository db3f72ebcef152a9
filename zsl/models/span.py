"""What the trained labels' vectors span."""

import torch
from torch import Tensor


def span_of(vectors: Tensor) -> Tensor:
    """Returns orthonormal columns (W, k) that span the label vectors (L, W); k is their rank.

    A weight is trained in the directions of the label vectors alone. Outside their span it stays as
    it was drawn, so what a new label's vector has there would reach the decoder as noise. Where
    there are fewer trained labels than dimensions, that can be a good part of a vector.
    """
    _, lengths, directions = torch.linalg.svd(vectors.detach().double(), full_matrices=False)
    return directions[lengths > 1e-4 * lengths[0]].T.float().contiguous()
