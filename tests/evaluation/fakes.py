"""Scores of a task that never was, on data that is not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zsl.data import Split
from zsl.errors import require
from zsl.evaluation.scoring import TaskScores
from zsl.labels import Role, Vocabulary
from zsl.metrics import Protocol
from zsl.models import Answers


class _Targets(list[Tensor]):
    """A data set of targets."""

    def target(self, index: int) -> Tensor:
        return self[index]


def make_scored(
    roles: list[str],
    num_images: int = 12,
    name: str = "first",
    labels: list[str] | None = None,
    groups: dict[str, list[int]] | None = None,
    image: Callable[[int], Image.Image] = lambda row: Image.new("RGBA", (500, 20 + row)),
    validation: tuple[Tensor, Tensor] | None = None,
    single_label: bool = False,
    scoring: str = "",
    has_training_images: bool = True,
) -> TaskScores:
    """Random scores of labels in the order of their roles; the first has no positive."""
    generator = torch.Generator().manual_seed(len(name))
    labels = labels or [f"label {position}" for position in range(len(roles))]
    vocabulary = Vocabulary(labels, roles)
    vectors = torch.randn(len(roles), 4, generator=generator)
    scores = torch.randn(num_images, len(roles), generator=generator)
    targets = torch.randint(-1, 2, scores.shape, generator=generator).to(torch.int8)
    targets[:, 0].clamp_(max=0)
    if single_label:
        classes = torch.randint(1, len(roles), (num_images,), generator=generator)
        targets = torch.nn.functional.one_hot(classes, len(roles)).to(torch.int8)
    num_seen, num_unseen = (len(vocabulary.select(role)) for role in (Role.SEEN, Role.UNSEEN))
    columns = list(range(len(roles)))
    default = {"zsl": columns[len(roles) - num_unseen :], "gzsl": columns}
    default |= {"seen": columns[:num_seen]}
    task: Any = SimpleNamespace(
        single_label=single_label,
        vocabulary=vocabulary,
        groups=lambda *roles: groups or default,
        protocol=Protocol(),
        probabilities=torch.sigmoid,
        scores_are_log_odds=True,
        scores_are_softmax=False,
        network=SimpleNamespace(label_vectors=vectors, scoring=scoring),
        hparams={
            "head": {"class_path": "zsl.models.MLDecoderConfig", "init_args": {}},
            "backbone": {"class_path": "zsl.models.TimmBackboneConfig", "init_args": {}},
        },
        encoder=SimpleNamespace(describe=lambda: "random vectors"),
    )

    def dataset(split: Split, transform: Any) -> Any:
        """Training images that have the targets of the test images."""
        require(has_training_images, "The training images are elsewhere.")
        return _Targets(targets)

    data: Any = SimpleNamespace(
        dataset=dataset,
        evaluation_transform=None,
        rows_to_train=lambda dataset: np.arange(len(dataset)),
        recipe={"class_path": "fakes.Fake", "init_args": {}},
        fingerprint="0123456789abcdef",
        omitted=lambda split: 0,
        test_dataset=SimpleNamespace(image=image),
    )
    index, path = range(num_images), Path("runs/<odd>&/\udcff.ckpt")
    answers = Answers(
        scale=torch.full((len(roles),), 0.5),
        shift=torch.full((len(roles),), -1.0),
        thresholds=torch.full((len(roles),), 0.3),
        similarity=torch.ones(len(roles)),
        nearest=torch.zeros(len(roles), dtype=torch.int64),
        is_unlike=torch.zeros(len(roles), dtype=torch.bool),
    )
    return TaskScores(
        task, data, "32-true", index, scores, targets, validation, name, path, answers
    )
