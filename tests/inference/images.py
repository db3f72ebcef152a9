"""Images as the network sees them."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image


def pixels(pictures: list[Path], size: int = 64) -> torch.Tensor:
    """As the transform makes them, by Pillow: uint8 (B, 3, S, S)."""
    squashed = [Image.open(p).resize((size, size), Image.Resampling.BILINEAR) for p in pictures]
    arrays = [np.asarray(image) for image in squashed]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
