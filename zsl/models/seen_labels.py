"""Which of the labels that a model is asked for are those it was trained on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_COSINES_AT_ONCE = 2**24


def seen_positions(vectors: Tensor, seen_vectors: Tensor) -> Tensor:
    """Returns which seen label each label is, int64 (L,): its position, or -1 where it is none.

    Args:
        vectors: (L, W) label vectors; those of seen labels are equal to the bit.
        seen_vectors: (S, W).
    """
    # Not vector by vector: thousands of labels would take as many gigabytes.
    numbers = torch.cat([seen_vectors, vectors]).unique(dim=0, return_inverse=True)[1]
    seen, queried = numbers.split([len(seen_vectors), len(vectors)])
    position_of = numbers.new_full((int(numbers.max()) + 1,), -1)
    position_of[seen] = torch.arange(len(seen), device=seen.device)
    return position_of[queried]


def most_similar_seen(vectors: Tensor, seen_vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the cosine of each label to the seen label it is most like, and which that is.

    A seen label is compared with the others.

    Args:
        vectors: (L, W) label vectors.
        seen_vectors: (S, W).

    Returns:
        float32 (L,), and int64 (L,) positions; -1 and -1 where there is no other seen label.
    """
    positions = seen_positions(vectors, seen_vectors)
    directions = F.normalize(seen_vectors.float(), dim=1)
    rows = max(1, _COSINES_AT_ONCE // len(seen_vectors))
    best = []
    for own, position in zip(vectors.split(rows), positions.split(rows), strict=True):
        cosines = F.normalize(own.float(), dim=1) @ directions.T
        itself = (position >= 0).nonzero().flatten()
        cosines[itself, position[itself]] = -torch.inf
        best.append(cosines.max(dim=1))
    values = torch.cat([part.values for part in best])
    indices = torch.cat([part.indices for part in best])
    is_alone = values == -torch.inf
    return values.masked_fill(is_alone, -1), indices.masked_fill(is_alone, -1)
