"""Published checkpoints on the data of a config: their figures, without a training."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from zsl.data import MultiLabelDataModule
from zsl.errors import InputError, listing, require
from zsl.evaluation.scoring import TaskScores, score_task
from zsl.models import load_published, published_classes
from zsl.notes import remark
from zsl.process_group import ALONE, ProcessGroup
from zsl.tasks import Task

_MOST_DAMAGED = 0.01
"""Share of the class names that may be damaged: about 60 of OpenImages' 9,605 are."""


def score_published(
    path: Path,
    data: MultiLabelDataModule,
    task: Task,
    precision: str,
    group: ProcessGroup = ALONE,
) -> TaskScores:
    """Scores the test images of the data with a checkpoint of the official ML-Decoder code.

    Args:
        path: The file.
        data: Its images; the classes may be in another order than the file's.
        task: A network like the published one, with any weights.
        precision: The trainer's, which is taken where there is a GPU.
        group: Processes that share the images; the first one returns the scores of all.

    Raises:
        InputError: The file can't be read, fits another network, or has other classes.
    """
    with group.first_goes_ahead():
        order = _load(path, task)
    scored = score_task(task, data, precision, group=group)
    scores = scored.scores if order is None else scored.scores[:, order]
    return replace(scored, scores=scores, name=path.stem, path=path)


def _load(path: Path, task: Task) -> list[int] | None:
    """Loads the weights; returns the positions of the task's classes among those of the file."""
    report = load_published(task.network, path)
    # Normalisation of pixels and label vectors are ours.
    lacking = [name for name in report.untouched if name.startswith(("backbone.model.", "head."))]
    for names, what in ((lacking, "lacks"), (report.unused, "has, and the network lacks,")):
        require(
            not names,
            f"{path} {what} {len(names)} tensors, the first {names[0] if names else ''}; take the "
            "config, backbone, image size and groups that it was trained with.",
        )
    if task.encoder is not None:
        return None
    if (published := published_classes(path)) is not None:
        return class_order(task.vocabulary.names, published, str(path))
    remark(f"{path} does not name its classes; they are taken to be in data's order.")
    return None


def class_order(own: Sequence[str], published: Sequence[str], source: str) -> list[int]:
    """Returns the positions of the data's classes among published ones, by their names.

    Case, spaces and punctuation don't count. A name that is damaged, or there twice, is found by
    its position where all others are at theirs.

    Args:
        own: L names.
        published: L names.
        source: What the published ones are of, for messages.

    Raises:
        InputError: The classes are others.
    """
    require(
        len(own) == len(published),
        f"{source} has {len(published):,} classes, the data {len(own):,}; take the data that it "
        "was trained with.",
    )
    keys = [_key(name) for name in published]
    counts = Counter(keys)
    position = {key: index for index, key in enumerate(keys) if counts[key] == 1}
    found = [position.get(_key(name)) for name in own]
    lost = [index for index, at in enumerate(found) if at is None]
    is_in_place = all(at in (None, index) for index, at in enumerate(found))
    if lost and not (is_in_place and len(lost) <= max(1, _MOST_DAMAGED * len(own))):
        raise InputError(
            f"{len(lost):,} of the data's {len(own):,} classes are not among those of {source}: "
            f"{listing([own[index] for index in lost])}; take the data that it was trained with."
        )
    if lost:
        pairs = [f"{published[index]!r} for {own[index]!r}" for index in lost]
        remark(f"{len(lost):,} class names of {source} differ, taken by position: {listing(pairs)}")
    return [index if at is None else at for index, at in enumerate(found)]


def _key(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name).strip().casefold()
