"""Label vectors on disk, so that an encoder is loaded once per vocabulary."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from zsl.files import atomic_path

_log = logging.getLogger(__name__)


def cache_directory() -> Path:
    """`$ZSL_CACHE`, or `zsl` in the user's cache directory."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zsl"
    return Path(os.environ.get("ZSL_CACHE") or default)


def cached_vectors(
    recipe: dict[str, Any], names: Sequence[str], compute: Callable[[], torch.Tensor]
) -> torch.Tensor:
    """Returns the vectors of `names` from the cache, or computes and stores them.

    Args:
        recipe: Everything besides the names that the vectors depend on, JSON-serialisable.
        names: L label names; their order is part of the key.
        compute: Makes the float32 (L, W) vectors on a miss.
    """
    key = json.dumps({"recipe": recipe, "names": list(names)}, sort_keys=True)
    digest = hashlib.sha256(key.encode()).hexdigest()
    path = cache_directory() / "label_vectors" / f"{digest[:32]}.safetensors"
    vectors = _read(path, key)
    if vectors is None:
        vectors = compute()
        _write(path, vectors, key)
    return vectors


def _read(path: Path, key: str) -> torch.Tensor | None:
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("key") == key:
                return file.get_tensor("vectors")
    except (OSError, SafetensorError):
        # Absent or damaged: computing again repairs it.
        pass
    return None


def _write(path: Path, vectors: torch.Tensor, key: str) -> None:
    try:
        with atomic_path(path) as temporary:
            save_file({"vectors": vectors.contiguous()}, temporary, metadata={"key": key})
    except OSError as error:
        _log.warning("The label vectors can't be cached (%s); set ZSL_CACHE to a folder.", error)
