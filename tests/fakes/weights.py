"""Weights of a backbone, as a user has them in a file."""

from pathlib import Path

import timm
import torch


def write_weights(path: Path, name: str = "test_resnet", seed: int = 0) -> Path:
    """Saves random weights of a timm model: a frozen backbone without any is refused."""
    torch.manual_seed(seed)
    torch.save(timm.create_model(name).state_dict(), path)
    return path
