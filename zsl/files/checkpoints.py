"""Reading checkpoints, without executing anything in them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from zsl.errors import InputError, reason_of, require
from zsl.versions import __version__

MISFITS = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What arguments and tensors of another version, or edited by hand, fail with."""


_PARTS = {"zsl": "labels", "state_dict": "weights", "hyper_parameters": "settings"}


def check_is_checkpoint(path: Path) -> None:
    """Refuses the path of a checkpoint that is no file.

    Raises:
        InputError: It is missing, or a folder.
    """
    problem = "is a folder" if os.path.isdir(path) else "does not exist"
    require(
        os.path.isfile(path), f"The checkpoint {path} {problem}; expected a .ckpt file of zsl.fit."
    )


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU without executing anything in it.

    Raises:
        InputError: The file is missing, damaged, or no checkpoint of this product.
    """
    path = Path(path)
    check_is_checkpoint(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of pickles that are no checkpoint.
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # Bytes that are no checkpoint fail in many ways.
        raise InputError(
            f"The checkpoint {path} can't be read: it is damaged, incomplete, or no checkpoint."
        ) from error
    for part, what in _PARTS.items():
        if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(part), Mapping):
            raise InputError(f"{path} is no checkpoint of zsl.fit: it holds no {what}.")
    return checkpoint


def of_another_version(source: str, version: str | None, error: Exception) -> InputError:
    """The error for a model whose arguments or tensors this version can't take.

    Args:
        source: What was read.
        version: Of zsl, that wrote it.
        error: What failed.
    """
    reason = reason_of(error, line=-1)
    return InputError(
        f"{source} was saved by zsl {version or 'of an unknown version'} and does not go with zsl "
        f"{__version__} ({reason}); install that version, or train again."
    )
