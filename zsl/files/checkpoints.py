"""Reading checkpoints, without executing anything in them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zsl.errors import InputError, others, program, reason_of
from zsl.versions import __version__

LOAD_ERRORS = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""Raised where settings or tensors of another version, or edited by hand, don't fit this one."""
_KEY = "zsl"


@dataclass(frozen=True)
class CheckpointContents:
    """What makes a checkpoint self-contained, besides settings and tensors: plain values."""

    task: str
    """Class path of the task that was trained."""
    names: list[str]
    """The labels, in the order of label vectors and scores."""
    roles: list[str]
    """The role of each: seen, held_out or unseen."""
    image_size: int
    """Side of the square images in pixels."""
    scores_are_log_odds: bool
    """Whether a sigmoid makes probabilities of the scores."""
    encoder: dict[str, Any] | None
    """What embeds further labels like these: `class_path`, `init_args`, `fingerprint`; None where
    the classes are fixed."""
    data: dict[str, Any]
    """What makes the data module again: `class_path` and `init_args`."""
    data_fingerprint: str
    precision: str
    """That of the trainer."""
    scores_are_softmax: bool = False
    """Whether a softmax over all of them does."""
    version: str = __version__
    """The version of zsl that wrote it."""
    resizing: dict[str, Any] = field(default_factory=dict)
    """How images become squares: arguments of `Resizing`; earlier versions had its defaults."""

    def add_to(self, checkpoint: dict[str, Any]) -> None:
        """Writes the contents into a checkpoint of Lightning."""
        checkpoint[_KEY] = asdict(self)


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint that was read."""

    path: Path
    contents: CheckpointContents
    settings: dict[str, Any]
    """Settings of the task: `backbone`, `head` and so on, each with `class_path` and `init_args`,
    or a plain value."""
    tensors: dict[str, Tensor]
    """The state of the task, by name."""


def check_are_checkpoints(paths: Sequence[Path]) -> None:
    """Refuses paths of checkpoints that are not files.

    Raises:
        InputError: One is missing, or a folder.
    """
    if wrong := [path for path in paths if not os.path.isfile(path)]:
        problem = "is a folder" if os.path.isdir(wrong[0]) else "does not exist"
        raise InputError(
            f"The checkpoint {wrong[0]} {problem}; expected the .ckpt file of a training."
            + others([str(path) for path in wrong])
        )


def read_checkpoint(path: str | Path) -> CheckpointFile:
    """Reads a checkpoint onto the CPU without executing anything in it.

    Raises:
        InputError: The file is missing, damaged, not a checkpoint of this product, or of another
            version.
    """
    path = Path(path)
    check_are_checkpoints([path])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # About pickles that are not checkpoints.
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # Bytes that are not a checkpoint fail in many ways.
        raise InputError(
            f"The checkpoint {path} can't be read: it is damaged, incomplete, or not a checkpoint."
        ) from error
    parts = {_KEY: "labels", "state_dict": "weights", "hyper_parameters": "settings"}
    for part, what in parts.items():
        if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(part), Mapping):
            is_published = isinstance(checkpoint, dict) and "model" in checkpoint
            raise InputError(
                f"{path} is not a checkpoint of zsl: it holds no {what}."
                + f" Of the official code? {program('evaluate')} --published." * is_published
            )
    found, settings = checkpoint[_KEY], checkpoint["hyper_parameters"]
    try:
        contents = CheckpointContents(**found)
        for part in (contents.encoder, contents.data, *settings.values()):
            if part is not None and not isinstance(part, bool):
                part["class_path"], part["init_args"]
    except LOAD_ERRORS as error:
        raise of_another_version(f"The checkpoint {path}", found.get("version"), error) from error
    return CheckpointFile(path, contents, settings, checkpoint["state_dict"])


def of_another_version(source: str, version: str | None, error: Exception) -> InputError:
    """The error for a model whose settings or tensors don't fit this version.

    Args:
        source: What was read.
        version: The version of zsl that wrote it.
        error: What failed.
    """
    reason = reason_of(error, line=-1)
    return InputError(
        f"{source} was saved by zsl {version or 'of an unknown version'} and does not fit zsl "
        f"{__version__} ({reason}); install that version, or train again."
    )
