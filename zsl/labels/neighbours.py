"""Which trained labels are near a label."""

from __future__ import annotations

from collections.abc import Sequence

import torch

NUM_NEIGHBOURS = 3


def nearest_seen(
    names: Sequence[str], vectors: torch.Tensor, num_seen: int
) -> tuple[list[str], list[float]]:
    """Finds the nearest seen labels of each label, by cosine.

    Args:
        names: Of L labels, the seen ones first.
        vectors: (L, W).
        num_seen: Of them, 1 or more.

    Returns:
        For each label the names of the nearest with their cosines, and the cosine of the nearest.
    """
    unit = torch.nn.functional.normalize(vectors)
    cosines = unit @ unit[:num_seen].T
    cosines[:num_seen].fill_diagonal_(-torch.inf)  # Not a label to itself.
    best = cosines.topk(min(NUM_NEIGHBOURS, num_seen), dim=1)
    nearest = [
        ", ".join(
            f"{names[column]} {value:.2f}"
            for column, value in zip(columns, values, strict=True)
            if value > -1.5  # Itself.
        )
        for columns, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
    return nearest, best.values[:, 0].clamp(min=-1).tolist()
