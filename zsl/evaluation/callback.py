"""Reports on the test of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger

from zsl.evaluation import charts
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
        _write_curves(trainer, folder / "report" / charts.CURVES)
        table = summary(assessment.evaluations, task.vocabulary, scored.num_omitted, scored.scoring)
        parts = [table, decision_table(decisions)] if len(decisions) else [table]
        self.text = "\n".join(["", *parts, "", f"Report: {folder / 'report'}"])


def _write_curves(trainer: pl.Trainer, path: Path) -> None:
    """Draws what a CSV logger has of the training; of a model kept as it was made there is none."""
    logger, best = trainer.loggers[0] if trainer.loggers else None, trainer.checkpoint_callback
    if not isinstance(logger, CSVLogger) or not isinstance(best, ModelCheckpoint):
        return
    logger.save()
    table, monitor, score = Path(logger.log_dir, "metrics.csv"), best.monitor, best.best_model_score
    if score is None or not table.is_file():
        return
    metrics = pd.read_csv(table)
    if trainer.max_epochs != 0 and monitor in metrics:
        charts.save_chart(path, lambda: charts.curves(metrics, str(monitor), float(score)))
