"""The seen labels that are nearest to a label."""

from __future__ import annotations

from collections.abc import Sequence

import torch

NUM_NEIGHBOURS = 3
_COSINES_AT_ONCE = 2**24


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
    seen, number = unit[:num_seen], min(NUM_NEIGHBOURS, num_seen)
    nearest: list[str] = []
    best: list[float] = []
    # All cosines of 100,000 labels would take 40 GB.
    rows = max(1, _COSINES_AT_ONCE // num_seen)
    for start in range(0, len(unit), rows):
        cosines = unit[start : start + rows] @ seen.T
        cosines[: max(0, num_seen - start), start:].fill_diagonal_(-torch.inf)
        values, columns = (part.tolist() for part in cosines.topk(number, dim=1))
        nearest += [_text(names, *row) for row in zip(columns, values, strict=True)]
        best += [max(-1.0, row[0]) for row in values]
    return nearest, best


def _text(names: Sequence[str], columns: list[int], values: list[float]) -> str:
    pairs = zip(columns, values, strict=True)
    return ", ".join(
        f"{names[column]} {value:.2f}" for column, value in pairs if value > -torch.inf
    )
