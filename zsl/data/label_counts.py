"""How often labels occur among images, of which none is read."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from zsl.data.dataset import MultiLabelDataset

_MOST_COUNTED = 200_000  # Images: enough for any frequency, of millions too.


def count_labels(
    dataset: MultiLabelDataset, rows: np.ndarray, columns: slice
) -> tuple[Tensor, Tensor]:
    """Counts the images that have each label, and those of which it is known.

    Args:
        dataset: The images and their targets.
        rows: Positions of the images, int64 (N,), one or more; of more than 200,000, so many that
            are drawn by a fixed seed.
        columns: Those of the S labels among the targets.

    Returns:
        Two float64 (S,).
    """
    drawn = np.random.default_rng(0).permutation(rows)[:_MOST_COUNTED].tolist()
    present = known = torch.zeros((), dtype=torch.float64)
    for start in tqdm(range(0, len(drawn), 1000), desc="counting labels", delay=2, leave=False):
        targets = torch.stack([dataset.target(row)[columns] for row in drawn[start : start + 1000]])
        present, known = present + (targets == 1).sum(0), known + (targets >= 0).sum(0)
    return present, known
