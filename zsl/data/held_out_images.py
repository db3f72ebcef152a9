"""Training images that are kept for validation, where a set has none beside its test images."""

from __future__ import annotations

import numpy as np

from zsl.errors import require


def split_off(count: int, fraction: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draws which of the training images select the checkpoint, and so are not trained on.

    Args:
        count: Number N of training images.
        fraction: Fraction of them to keep for validation; at least one image is.
        seed: Seed of the draw.

    Returns:
        Positions of the images to train on and of those to validate on, int64, both ascending.

    Raises:
        InputError: The fraction is not between 0 and 1, or leaves no image to train on.
    """
    require(0 < fraction < 1, f"val_fraction is {fraction}; expected between 0 and 1.")
    size = max(1, round(fraction * count))
    require(
        size < count, f"val_fraction {fraction} of {count} training images leaves none to train on."
    )
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[size:]), np.sort(order[:size])
