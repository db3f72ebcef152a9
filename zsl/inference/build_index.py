"""Brings an index of images in line with the files: only what is new to it is read."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from zsl.errors import InputError
from zsl.files.digests import text_digest, weights_digest
from zsl.inference.image_batches import image_batches
from zsl.inference.tagger import Tagger
from zsl.inference.token_index import ImageFile, Rows, TokenIndex

_log = logging.getLogger(__name__)


def tokens_made_with(tagger: Tagger) -> dict[str, Any]:
    """Returns what the tokens of an image depend on, plain values."""
    settings = tagger.model["backbone"]
    return {
        "backbone": settings["class_path"],
        **settings["init_args"],
        "weights": weights_digest(tagger.network.backbone),
        "image_size": tagger.image_size,
        **asdict(tagger.resizing),
    }


def compact_made_with(tagger: Tagger) -> dict[str, Any]:
    """Returns what `TaggerNetwork.remember` and `Tagger.is_unlike` depend on, plain values."""
    network = tagger.network
    parts = (network.head, network.closed_form, network.scores, network.familiar)
    scorers = [part for part in parts if part is not None]
    head = text_digest([json.dumps(tagger.model, sort_keys=True), *map(weights_digest, scorers)])
    return tokens_made_with(tagger) | {"head": head}


def index_name(tagger: Tagger) -> str:
    """Returns a name for a folder with the compact index of this tagger alone."""
    return text_digest([json.dumps(compact_made_with(tagger), sort_keys=True)])


def is_compact(index: TokenIndex) -> bool:
    """Whether an index keeps what a head made of the tokens rather than these."""
    return "head" in index.made_with


def check_made_with(index: TokenIndex, tagger: Tagger) -> None:
    """Refuses a tagger that would make something else.

    Raises:
        InputError: It has another backbone, image size or resizing, or, if the index is compact,
            another head.
    """
    index.check(compact_made_with(tagger) if is_compact(index) else tokens_made_with(tagger))


def update_index(index: TokenIndex, tagger: Tagger, paths: Sequence[Path], batch_size: int) -> None:
    """Adds the tokens of image files that are new or were changed; drops those that were deleted.

    Args:
        index: Made with this tagger.
        tagger: Makes the tokens.
        paths: Image files, each once.
        batch_size: Images per batch.

    Raises:
        InputError: Another process changes the index, or no image can be read.
    """
    files = {path: ImageFile.of(path) for path in paths}
    with index.locked():
        dropped = _drop_outdated(index, list(files.values()))
        known = set(index.files)
        new = [path for path, file in files.items() if file not in known]
        problems = _add(index, tagger, {path: files[path] for path in new}, batch_size)
    if len(problems) == len(paths):
        more = f"None of the {len(paths):,} images can be read; the first: "
        raise InputError((more if len(paths) > 1 else "") + str(problems[0]))
    num_changed = len({file.path for file in dropped} & {file.path for file in index.files})
    if new or dropped:
        _log.info(
            "The index %s: %s added, %s changed, %s dropped; it has %s images.",
            index.folder,
            f"{len(new) - len(problems) - num_changed:,}",
            f"{num_changed:,}",
            f"{len(dropped) - num_changed:,}",
            f"{len(index.files):,}",
        )
    if problems:
        _log.warning(
            "%s of %s images were skipped; the first: %s",
            f"{len(problems):,}",
            f"{len(paths):,}",
            problems[0],
        )


def _drop_outdated(index: TokenIndex, files: Sequence[ImageFile]) -> list[ImageFile]:
    """Drops what was changed, and what is not among the files since it was deleted."""
    paths, current = {file.path for file in files}, set(files)
    return index.drop(
        lambda file: file not in current if file.path in paths else not os.path.exists(file.path)
    )


def _add(
    index: TokenIndex, tagger: Tagger, files: dict[Path, ImageFile], batch_size: int
) -> list[InputError]:
    """Adds tokens of files that are not there yet; returns what is wrong with the others."""
    problems: list[InputError] = []
    paths, added = list(files), list(files.values())
    batches = image_batches(paths, tagger.image_size, batch_size, tagger.resizing)
    compact = is_compact(index)
    seen = _seen_labels(tagger) if compact else None
    with index.adding() as add, tqdm(total=len(paths), unit=" images", delay=2) as progress:
        for batch in batches:
            problems += batch.problems
            if batch.indices:
                tokens = tagger.tokens(batch.images)
                rows = _remembered(tagger, tokens, seen) if compact else {"tokens": tokens}
                add(rows, [added[row] for row in batch.indices])
            progress.update(len(batch.indices) + len(batch.problems))
    return problems


@torch.no_grad()
def _seen_labels(tagger: Tagger) -> Any:
    """Returns what the network prepared of the seen labels; None where none compete."""
    scores = tagger.network.scores
    return None if scores is None else tagger.network.prepare(scores.seen_vectors)


@torch.no_grad()
def _remembered(tagger: Tagger, tokens: Tensor, seen: Any) -> Rows:
    """Returns what a compact index keeps of tokens (B, T, C)."""
    remembered = tagger.network.remember(tokens, seen)._asdict()
    kept = {name: part for name, part in remembered.items() if part is not None}
    return kept | {"is_unlike": tagger.is_unlike(tokens).float()}
