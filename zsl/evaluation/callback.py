"""What a person sees after a test: a table, a results file, pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from zsl.data import Split
from zsl.evaluation.label_table import circumstances, draw, label_table
from zsl.evaluation.results import Line, lines, record, table
from zsl.files.atomic import write_atomically
from zsl.metrics import Evaluation


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
