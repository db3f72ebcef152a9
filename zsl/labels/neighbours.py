"""The seen labels that are nearest to a label."""

from __future__ import annotations

from collections.abc import Sequence

import torch

NUM_NEIGHBOURS = 3


def nearest_seen(
    names: Sequence[str], vectors: torch.Tensor, num_seen: int
) -> tuple[list[str], list[float]]:
    """Finds the nearest seen labels of each label, by cosine; none is its own neighbour.

    Args:
        names: Names of L labels, the seen ones first.
        vectors: Their float (L, W) vectors.
        num_seen: How many of them are seen, 1 or more.

    Returns:
        For each label, the names of the nearest with their cosines as one text; and the cosine of
        the nearest, -1 where there is none.
    """
    unit = torch.nn.functional.normalize(vectors)
    cosines = unit @ unit[:num_seen].T
    cosines[:num_seen].fill_diagonal_(-torch.inf)
    best = cosines.topk(min(NUM_NEIGHBOURS, num_seen), dim=1)
    nearest = [
        ", ".join(
            f"{names[column]} {value:.2f}"
            for column, value in zip(columns, values, strict=True)
            if value > -torch.inf
        )
        for columns, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
    return nearest, best.values[:, 0].clamp(min=-1).tolist()
