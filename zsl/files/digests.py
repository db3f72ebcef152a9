"""Short digests that identify texts, files and weights: 16 hexadecimal digits of SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def bytes_digest(parts: Iterable[bytes]) -> str:
    """Returns a digest of all bytes, wherever one part ends and the next begins."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]


def text_digest(parts: Iterable[str]) -> str:
    """Returns a digest of texts in their order."""
    return bytes_digest(part.encode() + b"\0" for part in parts)


def file_digest(path: Path) -> str:
    """Returns a digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def weights_digest(model: nn.Module) -> str:
    """Returns a digest of all weights and buffers, on whatever device they are."""
    # Imported here, since processes that read images need no torch and start faster without it.
    import torch

    return bytes_digest(
        part
        for name, tensor in sorted(model.state_dict().items())
        for part in (name.encode(), tensor.cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    )
