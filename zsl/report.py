"""What a person sees after a test: a table, a results file, pictures."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
from PIL import Image
from pytorch_lightning.callbacks import Callback
from torch import Tensor

import zsl
from zsl import charts
from zsl.data import MultiLabelDataModule, Split
from zsl.files import atomic_path, write_atomically
from zsl.label_report import nearest_seen
from zsl.labels import Role
from zsl.metrics import Evaluation, prevalence
from zsl.results import Line, lines, record, table


class Report(Callback):
    """After a test, writes `results.json` and `report/` to the run."""

    text = ""

    def show(self) -> None:
        """Prints the table: after the test, when the progress bar is gone."""
        if self.text:
            print(self.text, flush=True)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reports on the task's `evaluation` and `predictions`."""
        # Asking for it is a collective operation: not for the first process alone.
        folder = Path(trainer.log_dir or ".")
        if not trainer.is_global_zero:
            return
        task: Any = pl_module
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        num_omitted = data.omitted(Split.TEST)
        results = record(task.evaluation, num_omitted) | circumstances(data, trainer.precision)
        write_atomically(folder / "results.json", json.dumps(results, indent=2).encode())
        index, scores, targets = task.predictions.compute()
        labels = label_table(task, task.evaluation.average_precision, targets)
        report = folder / "report"
        self.text = f"\n{summary(task.evaluation, num_omitted)}\n\nReport: {report}"
        draw(report, labels, scores, targets, lambda row: data.test_dataset.picture(index[row]))


def circumstances(data: MultiLabelDataModule, precision: str | int) -> dict[str, Any]:
    """What the figures depend on, besides the checkpoint."""
    return {
        "data_fingerprint": data.fingerprint,
        "precision": str(precision),
        "versions": versions(),
    }


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


def label_table(task: Any, average_precision: Tensor, targets: Tensor) -> pd.DataFrame:
    """A row for each label of a task, seen, held-out, then unseen ones.

    Args:
        task: A `ZeroShotTask`.
        average_precision: (L,), NaN without a positive.
        targets: int8 (N, L).
    """
    names = task.vocabulary.select(*Role)
    num_seen = len(task.vocabulary.select(Role.SEEN))
    nearest, cosine = nearest_seen(names, task.queries(*Role).cpu(), num_seen)
    return pd.DataFrame(
        {
            "label": names,
            "role": [role.value for role in Role for _ in task.vocabulary.select(role)],
            "AP": average_precision.numpy(),
            "positives": (targets == 1).sum(dim=0).numpy(),
            "chance": prevalence(targets).numpy(),
            "nearest": nearest,
            "cosine": cosine,
        }
    )


def summary(
    evaluation: Evaluation,
    num_omitted: int,
    figures: list[Line] | None = None,
    harmonic: tuple[float, float] | None = None,
) -> str:
    """The headline figures as text, with what they are of.

    Args:
        evaluation: The figures.
        num_omitted: Test images that are listed, but missing or unreadable.
        figures: Lines to show in place of those of the evaluation.
        harmonic: The interval of the harmonic mean.
    """
    sure = f" (95 % interval {harmonic[0]:.3f} to {harmonic[1]:.3f})" if harmonic else ""
    omitted = f" Listed, but missing or unreadable: {num_omitted:,}." if num_omitted else ""
    return "\n".join(
        [
            f"Test on {evaluation.num_images:,} images.{omitted}",
            f"Protocol {evaluation.protocol}: {evaluation.protocol.definition}.",
            "",
            table(figures or lines(evaluation)),
            "",
            f"Harmonic mean of ZSL and seen mAP: {evaluation.harmonic_map:.3f}{sure}",
        ]
    )


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    packages = ("torch", "pytorch-lightning", "timm", "sentence-transformers", "torchmetrics")
    own = {"python": platform.python_version(), "zsl": zsl.__version__}
    return own | {name: version(name) for name in packages}
