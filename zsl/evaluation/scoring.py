"""A checkpoint on its data again: scores of the test images, and of the validation images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from jsonargparse import ArgumentParser
from PIL import Image
from torch import Tensor

from zsl.data import MultiLabelDataModule, MultiLabelDataset, Split
from zsl.data.label_counts import count_labels
from zsl.errors import InputError, require
from zsl.files.checkpoints import read_checkpoint
from zsl.files.class_paths import check_all_are_trusted, load_class
from zsl.labels import Role, Vocabulary
from zsl.metrics.evaluation import check_finite
from zsl.metrics.per_image import check_k
from zsl.models import Answers, Goal
from zsl.notes import is_quiet, remark
from zsl.preprocessing import Resizing
from zsl.process_group import ALONE, ProcessGroup
from zsl.tasks import Task
from zsl.tasks.progress import Progress


@dataclass(frozen=True)
class TaskScores:
    """What a task gives the test images of its data.

    Columns are seen, held-out, then unseen labels; rows are in the order of the test split.
    """

    task: Task
    data: MultiLabelDataModule
    precision: str
    """The trainer's precision."""
    index: Sequence[int]
    """Positions of the N rows in the test split."""
    scores: Tensor
    """Logits, float32 (N, L)."""
    targets: Tensor
    """int8 (N, L)."""
    validation: tuple[Tensor, Tensor] | None = None
    """Scores and targets of M validation images, if they were scored."""
    name: str = ""
    """Tells the checkpoint from others in a report."""
    path: Path | None = None
    """The checkpoint's file."""
    answers: Answers | None = None
    """What makes probabilities and decisions of the scores, for the best F1."""

    def image(self, row: int) -> Image.Image:
        """Reads the image of a row."""
        return self.data.test_dataset.image(self.index[row])

    @property
    def names(self) -> list[str]:
        """The labels of the columns."""
        return self.task.vocabulary.names

    @property
    def roles(self) -> list[Role]:
        """The roles of the columns."""
        return self.task.vocabulary.roles

    @property
    def groups(self) -> dict[str, list[int]]:
        """By name, the columns that are evaluated together."""
        return self.task.groups()

    @property
    def single_label(self) -> bool:
        """Whether each image has one label."""
        return self.task.single_label

    @property
    def scoring(self) -> str:
        """How scores are made, in words; empty where they are the head's."""
        return self.task.network.scoring

    @property
    def mean_scores(self) -> Tensor:
        """The mean float64 (L,) of each label's scores, as probabilities where they have any."""
        task = self.task
        has_probabilities = task.scores_are_log_odds or task.scores_are_softmax
        scores = task.probabilities(self.scores) if has_probabilities else self.scores
        return scores.mean(dim=0, dtype=torch.float64)

    @cached_property
    def frequencies(self) -> Tensor:
        """The share float64 (L,) of the training images that have a label.

        NaN for labels that are not trained, and for all where the training images are not there.
        """
        shares = torch.full((len(self.names),), torch.nan, dtype=torch.float64)
        try:
            dataset = self.data.dataset(Split.TRAIN, self.data.evaluation_transform)
            rows = self.data.rows_to_train(dataset)
        except (InputError, OSError):  # They may be elsewhere: a test needs the test images alone.
            return shares
        columns = self.task.vocabulary.columns(Role.SEEN)
        present, known = count_labels(dataset, rows, columns)
        shares[columns] = present / known
        return shares

    @property
    def num_omitted(self) -> int:
        """Test images that are listed, but missing or unreadable."""
        return self.data.omitted(Split.TEST)


def score_checkpoint(
    path: Path,
    changes: dict[str, Any],
    *,
    name: str = "",
    ks: Sequence[int] = (),
    with_validation: bool = False,
    head_alone: bool = False,
    trust_code: bool = False,
    group: ProcessGroup = ALONE,
) -> TaskScores:
    """Scores the test images of the data that a checkpoint was trained with.

    Args:
        path: A file of `zsl.fit`.
        changes: Changes to the data's arguments.
        name: Name of the checkpoint in reports.
        ks: The K of P/R/F1@K that will be computed; checked before the images are scored.
        with_validation: Scores the validation images too, unless all labels are trained ones.
        head_alone: Takes the head's scores, neither normalised nor beside a closed form.
        trust_code: Whether classes outside of zsl that the checkpoint names may be imported.
        group: Processes that share the images; the first one returns the scores of all, the others
            no rows.

    Raises:
        InputError: The file, or the data, can't be used, or a K is above the number of labels.
    """
    with group.first_goes_ahead():
        task, data, precision = _load(path, changes, ks, trust_code)
    if head_alone:
        task.network.scores = task.network.closed_form = None
        task.forget_calibration()
    is_calibrated = task.is_calibrated
    scored = score_task(task, data, precision, with_validation, group)
    if scored.answers is not None and not is_calibrated and not head_alone:
        remark(
            f"{path} holds no calibration; one was fitted on the validation images for these "
            "tables alone, so zsl.predict decides by none."
        )
    return replace(scored, name=name, path=path)


def _load(
    path: Path, changes: dict[str, Any], ks: Sequence[int], trust_code: bool
) -> tuple[Task, MultiLabelDataModule, str]:
    """Returns the task of a checkpoint, its data, and the trainer's precision."""
    checkpoint = read_checkpoint(path)
    contents = checkpoint.contents
    data = make_datamodule(contents.data, changes, trust_code)
    kind = load_class(contents.task, Task, trust_code)
    task = kind.restore(checkpoint, trust_code)
    if data.vocabulary != task.vocabulary:
        raise InputError(
            f"{path} was trained with {task.vocabulary!r}, the data now has {data.vocabulary!r}"
            f"{_first_difference(task.vocabulary, data.vocabulary)}; evaluate on data with the "
            "same classes."
        )
    for k in ks:
        check_k(k, len(task.vocabulary.names))
    require(
        data.image_size == task.image_size,
        f"images.size is {data.image_size}, but {path} was trained at {task.image_size}.",
    )
    trained, now = Resizing(**contents.resizing), data.images.resizing
    require(
        now == trained,
        f"The images are resized as {now}, but {path} was trained with {trained}; leave "
        "images.interpolation and images.center_crop as they were.",
    )
    if data.fingerprint != contents.data_fingerprint:
        remark(f"the data's labels or splits have changed since the training of {path}.")
    return task, data, contents.precision


def score_task(
    task: Task,
    data: MultiLabelDataModule,
    trained_in: str,
    with_validation: bool = False,
    group: ProcessGroup = ALONE,
) -> TaskScores:
    """Scores the test images of a task's data.

    Args:
        task: Whole, with its weights.
        data: Of the same labels.
        trained_in: The trainer's precision, which is taken where there is a GPU.
        with_validation: Scores the validation images too, where there are held-out labels, on which
            calibration is fitted.
        group: Processes that share the images; the first one returns the scores of all.

    Raises:
        InputError: A score is not finite, or no label has a positive.
    """
    accelerator, devices = group.accelerator, group.devices
    is_shown, progress = group.is_first and not is_quiet(), Progress("test images")
    precision: Any = trained_in if accelerator != "cpu" and torch.cuda.is_available() else "32-true"
    trainer: Any = pl.Trainer(
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=[progress] if is_shown else [],
        enable_progress_bar=is_shown,
        precision=precision,
        accelerator=accelerator,
        devices=devices,
    )
    # The task looks there for stored tokens, which have to be those of its backbone.
    trainer.datamodule = data
    with group.first_goes_ahead():
        data.setup("test")
    scores, targets = _scores(trainer, task, data, data.test_dataset, group)
    check_finite(scores)
    require(
        bool((targets == 1).any()) or not group.is_first,
        f"None of the {targets.shape[1]:,} labels has a positive among the {len(targets):,} test "
        "images, so there is nothing to measure; check the labels of the test split.",
    )
    validation = None
    if with_validation and task.vocabulary.select(Role.HELD_OUT):
        data.setup("validate")
        progress.scored = "validation images"
        validation = _scores(trainer, task, data, data.val_dataset, group)
        known = task.vocabulary.columns(Role.SEEN, Role.HELD_OUT)
        if not task.is_calibrated and group.is_first:
            task.calibrate(*(part[:, known] for part in validation))
    index, answers = range(len(scores)), task.answers(Goal())
    return TaskScores(
        task, data, str(trainer.precision), index, scores, targets, validation, answers=answers
    )


def _first_difference(trained: Vocabulary, found: Vocabulary) -> str:
    pairs = zip_longest(
        zip(trained.names, trained.roles, strict=True), zip(found.names, found.roles, strict=True)
    )
    for own, other in pairs:
        if own != other:
            texts = [
                "no label" if pair is None else f"{pair[0]!r} ({pair[1]})" for pair in (own, other)
            ]
            return f", first {texts[0]}, now {texts[1]}"
    return ""


def _scores(
    trainer: pl.Trainer,
    task: Task,
    data: MultiLabelDataModule,
    images: MultiLabelDataset,
    group: ProcessGroup,
) -> tuple[Tensor, Tensor]:
    """Logits float32 (N, L) and targets int8 (N, L) of all images, on the first process."""
    loader = data.ordered_loader(images, group.size, group.rank)
    own: Any = trainer.predict(task, loader) if len(loader) else []
    empty = torch.empty(0, len(task.vocabulary))
    scores, targets = zip((empty, empty.char()), *group.in_order(own), strict=True)
    return torch.cat(scores), torch.cat(targets)


def make_datamodule(
    recipe: dict[str, Any], changes: dict[str, Any], trust_code: bool = False
) -> MultiLabelDataModule:
    """Makes the data of a checkpoint again.

    Args:
        recipe: `class_path` and `init_args`.
        changes: Changes to the arguments, e.g. `{"root": "photos", "images": {"size": 96}}`.
        trust_code: Whether a class outside of zsl may be imported.

    Raises:
        InputError: The class is not trusted, or the data can't be made.
        argparse.ArgumentError: A change names no argument of the data, or is of another type.
    """
    check_all_are_trusted(recipe, trust_code)
    # jsonargparse takes a text in place of a group for the path of a class, which it imports.
    images = recipe["init_args"].get("images", {})
    require(
        trust_code or isinstance(images, dict),
        f"The data's images are {images!r}; expected settings such as size by name.",
    )
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--data", type=MultiLabelDataModule)
    config = parser.parse_object({"data": recipe})
    config = parser.parse_object({"data": {"init_args": changes}}, namespace=config)
    return parser.instantiate(config).data
