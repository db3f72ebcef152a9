"""Reports on the test of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from zsl.evaluation.assessment import Assessment, beside_most_frequent
from zsl.evaluation.decisions import decision_frame, decision_table
from zsl.evaluation.report import write_results
from zsl.evaluation.results import summary
from zsl.evaluation.scoring import TaskScores
from zsl.metrics.bootstrap import Bootstrap
from zsl.models import Goal


class Report(Callback):
    """After a test, writes `results.json` and `report/` to the run."""

    text = ""

    def show(self) -> None:
        """Prints the table: after the test, when the progress bar is gone."""
        if self.text:
            print(self.text, flush=True)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reports on the task's `evaluation` and `predictions`."""
        # The folder is broadcast: every process has to read `trainer.log_dir`.
        folder = Path(trainer.log_dir or ".")
        if not trainer.is_global_zero:
            return
        task: Any = pl_module
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        index, scores, targets = task.predictions.compute()
        answers = task.answers(Goal())
        precision = str(trainer.precision)
        scored = TaskScores(task, data, precision, index, scores, targets, answers=answers)
        bootstrap = Bootstrap(len(scored.scores)) if len(scored.scores) > 1 else None
        evaluation = beside_most_frequent(task.evaluation, scored, bootstrap)
        decisions = decision_frame(scored, bootstrap)
        assessment = Assessment(scored, [evaluation], decisions=decisions)
        write_results(folder, assessment)
        table = summary(assessment.evaluations, scored.num_omitted, scored.scoring)
        parts = [table, decision_table(decisions)] if len(decisions) else [table]
        self.text = "\n".join(["", *parts, "", f"Report: {folder / 'report'}"])
