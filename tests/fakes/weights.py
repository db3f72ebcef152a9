"""Weights of a backbone, as a user has them in a file."""

from pathlib import Path

import timm
import torch


def write_weights(path: Path, name: str = "test_resnet") -> Path:
    """Saves random weights of a timm model: a frozen backbone without any is refused."""
    torch.manual_seed(0)
    torch.save(timm.create_model(name).state_dict(), path)
    return path
