"""Random scores and targets, and the published AP."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def random_data(
    num_images: int, num_labels: int, seed: int, levels: int | None = None
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(num_images, num_labels, generator=generator)
    if levels:
        scores = (scores * levels).round() / levels
    targets = (torch.rand(num_images, num_labels, generator=generator) < 0.3).to(torch.int8)
    return scores, targets


def published(scores: NDArray[Any], targets: NDArray[Any]) -> float:
    """AP as the code of ML-Decoder has it, for one label."""
    indices = scores.argsort(kind="stable")[::-1]
    target = targets[indices]
    total = np.cumsum(np.ones(len(target)))
    hits = np.cumsum(target == 1).astype(float)
    num_positives = hits[-1]
    hits[target != 1] = 0
    return float(np.sum(hits / total) / num_positives)
