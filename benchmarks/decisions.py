"""Probabilities and decisions of checkpoints, averaged over trainings on the same data.

    python benchmarks/decisions.py runs/*/seed_*/checkpoints/best.ckpt

Checkpoints of one data set and model are averaged: mean and standard deviation over them of what
`zsl.evaluate` shows under "Probabilities and decisions", what goals of a precision reach, and GZSL
F1@3 raw, after stacking, and of calibrated scores. `benchmarks/unseen_labels.py` trains such
checkpoints.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from zsl.evaluation.assessment import assess
from zsl.evaluation.scoring import score_checkpoint
from zsl.files.output_text import aligned
from zsl.metrics import Protocol
from zsl.metrics.bootstrap import Bootstrap
from zsl.metrics.decisions import decision_figures
from zsl.metrics.evaluation import of_columns
from zsl.models import Goal

_PRECISIONS = (0.3, 0.5, 0.7, 0.9)
_FIGURES = ("precision", "recall", "F1", "macro_F1", "ECE")


def main() -> None:
    """Evaluates the checkpoints and prints a table for each data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--replicates", type=int, default=1000)
    options = parser.parse_args()
    frames = [_rows(path, options.replicates) for path in options.checkpoints]
    for name, own in pd.concat(frames).groupby("set", sort=False):
        print(f"\n{name}, {own['checkpoint'].nunique()} trainings")
        print(_table(own))


def _rows(path: Path, replicates: int) -> pd.DataFrame:
    scored = score_checkpoint(path, {}, with_validation=True)
    bootstrap = Bootstrap(len(scored.scores), replicates)
    assessment = assess(scored, [Protocol()], (3,), bootstrap)
    frame = assessment.decisions.assign(half=lambda f: (f["high"] - f["low"]) / 2)
    others = [
        {
            "group": "gzsl",
            "rule": f"F1@3, {own.calibration or 'raw'}",
            "F1": own.figures["gzsl/F1@3"],
        }
        for own in assessment.evaluations
    ]
    root = Path(scored.data.recipe["init_args"].get("root", "shapes")).name
    head = scored.task.hparams["head"]["class_path"].rpartition(".")[2].removesuffix("Config")
    others += [
        {"group": group, "rule": str(goal), **decision_figures(yes, targets)}
        for goal in map(Goal, _PRECISIONS)
        for answers in [scored.task.answers(goal)]
        for group, columns in scored.groups.items()
        if answers is not None and group in ("zsl", "seen")
        for own in [answers.select(columns)]
        for yes in [own.probabilities(of_columns(scored.scores, columns)) >= own.thresholds]
        for targets in [of_columns(scored.targets, columns)]
    ]
    frame = pd.concat([frame, pd.DataFrame(others)])
    return frame.assign(set=f"{root}, {head}", checkpoint=str(path))


def _table(rows: pd.DataFrame) -> str:
    cells = [["labels", "yes above", *_FIGURES, "interval"]]
    for (group, rule), own in rows.groupby(["group", "rule"], sort=False):
        figures = [
            "" if own[name].isna().all() else f"{own[name].mean():.3f} ± {own[name].std():.3f}"
            for name in _FIGURES
        ]
        half = "" if own["half"].isna().all() else f"±{own['half'].mean():.3f}"
        cells.append([str(group), str(rule), *figures, half])
    return aligned(cells, num_left=2)


if __name__ == "__main__":
    main()
