"""A test's figures of each label, in one table."""

from __future__ import annotations

from typing import Any

import pandas as pd
from torch import Tensor

from zsl.labels import Role
from zsl.labels.neighbours import nearest_seen
from zsl.metrics import prevalence
from zsl.metrics.protocol import label_counts


def label_table(task: Any, average_precision: Tensor, targets: Tensor) -> pd.DataFrame:
    """A row for each label of a task, seen, held-out, then unseen ones.

    Args:
        task: A `Task`.
        average_precision: (L,), NaN where a label is empty.
        targets: int8 (N, L).

    Returns:
        Columns `label`, `role`, `AP`, `positives`, `chance`, `nearest` (the nearest seen labels by
        the cosine of their vectors, as text) and `cosine` (that of the nearest); these two only
        where labels have vectors.
    """
    names, vectors = task.vocabulary.names, task.network.label_vectors
    table = pd.DataFrame(
        {
            "label": names,
            "role": [role.value for role in task.vocabulary.roles],
            "AP": average_precision.numpy(),
            "positives": label_counts(targets)[0].numpy(),
            "chance": prevalence(targets).numpy(),
        }
    )
    if vectors is None:
        return table
    nearest, cosine = nearest_seen(names, vectors.cpu(), len(task.vocabulary.select(Role.SEEN)))
    return table.assign(nearest=nearest, cosine=cosine)


def labels_in_question(labels: pd.DataFrame) -> pd.Series:
    """Which labels a report is about, by their `role`.

    The unseen ones; where there are none, those held out; of fixed classes all.
    """
    roles = (Role.UNSEEN, Role.HELD_OUT, Role.SEEN)
    return next(chosen for role in roles if (chosen := labels["role"] == role).any())


def best_and_worst(labels: pd.DataFrame, column: str, most: int) -> pd.DataFrame:
    """Labels in descending order of a column; of more than `most`, the first and the last half.

    Args:
        labels: A row for each label.
        column: A column of numbers. Labels with NaN come last; where there are too many labels,
            they are left out.
        most: Number of rows to return at most.
    """
    ordered = labels.sort_values(column, ascending=False, na_position="last", kind="stable")
    if len(ordered) > most:
        ordered = ordered.dropna(subset=column)
    if len(ordered) > most:
        ordered = pd.concat([ordered.head(most // 2), ordered.tail(most - most // 2)])
    return ordered
