"""A cache of label vectors on disk, so that a source is opened once for each set of names."""

import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from platformdirs import user_cache_path
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from zsl.files.atomic import write_atomically
from zsl.files.digests import text_digest

_log = logging.getLogger(__name__)


class Embedded(NamedTuple):
    """Vectors of L names, before scaling."""

    vectors: torch.Tensor
    """float32 (L, W)."""
    origins: list[str]
    """What each vector was made of, e.g. `polar + bear`."""
    fingerprint: str
    """A digest of the source."""


def cache_directory() -> Path:
    """Returns `$ZSL_CACHE`, or `zsl` in the user's cache directory."""
    return Path(os.environ.get("ZSL_CACHE") or user_cache_path("zsl", appauthor=False))


def cached(
    source: dict[str, Any], names: Sequence[str], compute: Callable[[], Embedded]
) -> Embedded:
    """Returns the vectors of `names` from the cache, or computes and stores them.

    Args:
        source: Everything besides the names that the vectors depend on, JSON-serialisable.
        names: L label names; their order is part of the key.
        compute: Opens the source, on a miss.
    """
    key = json.dumps({"version": 2, "source": source, "names": list(names)}, sort_keys=True)
    path = cache_directory() / "label_vectors" / f"{text_digest([key])}.safetensors"
    found = _read(path, key)
    if found is None:
        found = compute()
        _write(path, found, key)
    return found


def _read(path: Path, key: str) -> Embedded | None:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("key") == key:
                origins = json.loads(metadata["origins"])
                return Embedded(file.get_tensor("vectors"), origins, metadata["fingerprint"])
    except (OSError, SafetensorError, KeyError, ValueError):
        # Absent or damaged: computing again repairs it.
        pass
    return None


def _write(path: Path, found: Embedded, key: str) -> None:
    metadata = {"key": key, "origins": json.dumps(found.origins), "fingerprint": found.fingerprint}
    try:
        write_atomically(path, save({"vectors": found.vectors.contiguous()}, metadata))
    except OSError as error:
        _log.warning("The label vectors can't be cached (%s); set ZSL_CACHE to a folder.", error)
