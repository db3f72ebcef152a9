"""Short digests, by which a thing is known again."""

import hashlib
from collections.abc import Iterable

import torch
from torch import nn


def text_digest(parts: Iterable[str]) -> str:
    """Returns a digest of texts in their order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:16]


def weights_digest(model: nn.Module) -> str:
    """Returns a digest of all weights and buffers, wherever they come from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
