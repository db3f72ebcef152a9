"""What is told of each label after a test, as a table and as pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image
from torch import Tensor

from zsl.data import MultiLabelDataModule
from zsl.evaluation import charts
from zsl.files.atomic import atomic_path
from zsl.labels import Role
from zsl.labels.neighbours import nearest_seen
from zsl.metrics import prevalence
from zsl.versions import versions


def label_table(task: Any, average_precision: Tensor, targets: Tensor) -> pd.DataFrame:
    """A row for each label of a task, seen, held-out, then unseen ones.

    Args:
        task: A `ZeroShotTask`.
        average_precision: (L,), NaN without a positive.
        targets: int8 (N, L).
    """
    names = task.vocabulary.names
    num_seen = len(task.vocabulary.select(Role.SEEN))
    nearest, cosine = nearest_seen(names, task.network.label_vectors.cpu(), num_seen)
    return pd.DataFrame(
        {
            "label": names,
            "role": [role.value for role in task.vocabulary.roles],
            "AP": average_precision.numpy(),
            "positives": (targets == 1).sum(dim=0).numpy(),
            "chance": prevalence(targets).numpy(),
            "nearest": nearest,
            "cosine": cosine,
        }
    )


def draw(
    folder: Path,
    labels: pd.DataFrame,
    scores: Tensor,
    targets: Tensor,
    picture: Callable[[int], Image.Image],
) -> None:
    """Writes the AP of each label as a table and a picture, and a picture of predictions.

    Args:
        folder: It is made where needed.
        labels: From `label_table`.
        scores: Logits (N, L).
        targets: int8 (N, L).
        picture: Gives the picture of a row.
    """
    with atomic_path(folder / "per_class_ap.csv") as path:
        labels.to_csv(path, index=False, float_format="%.6f")
    with atomic_path(folder / "per_class_ap.png") as path:
        charts.per_class_ap(labels).savefig(path, dpi=110)
    with atomic_path(folder / "predictions.png") as path:
        charts.predictions(labels, scores, targets, picture).savefig(path, dpi=110)


def circumstances(data: MultiLabelDataModule, precision: str | int) -> dict[str, Any]:
    """What the figures depend on, besides the checkpoint."""
    return {
        "data_fingerprint": data.fingerprint,
        "precision": str(precision),
        "versions": versions(),
    }
