"""Writes what a test gave: results.json and charts for one checkpoint, tables for several."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from tqdm import tqdm

from zsl.errors import printable
from zsl.evaluation import charts
from zsl.evaluation.assessment import Assessment, compare
from zsl.evaluation.decisions import (
    decision_table,
    own_decisions,
    reliability_chart,
)
from zsl.evaluation.results import comparison_table, figures_frame, results_record, summary
from zsl.files.atomic import atomic_path, write_atomically
from zsl.notes import on_terminals
from zsl.versions import versions


def write_results(folder: Path, assessment: Assessment, **more: Any) -> None:
    """Writes the figures of one checkpoint as `results.json`, those of its labels to `report/`.

    Args:
        folder: Made if needed.
        assessment: Its first evaluation is written.
        more: What else results.json holds.
    """
    scored = assessment.scored
    record = results_record(assessment.evaluations[0], scored.num_omitted, scored.scoring)
    results = record | {
        "data_fingerprint": scored.data.fingerprint,
        "precision": scored.precision,
        "versions": versions(),
        "decisions": own_decisions(assessment.decisions),
        **more,
    }
    write_atomically(folder / "results.json", json.dumps(results, indent=2).encode())
    report = folder / "report"
    with atomic_path(report / "per_class_ap.csv") as path:
        assessment.labels.to_csv(path, index=False, float_format="%.6f")
    probabilities = scored.task.probabilities(scored.scores)
    shown = assessment.labels, probabilities, scored.targets, scored.image
    drawn: dict[str, Callable[[], Figure]] = {
        "per_class_ap.png": lambda: charts.per_class_ap(assessment.labels),
        "predictions.png": lambda: charts.predictions(*shown),
    }
    if found := assessment.reliabilities:
        with atomic_path(report / "decisions.csv") as path:
            assessment.decisions.to_csv(path, index=False, float_format="%.6f")
        drawn["reliability.png"] = lambda: reliability_chart(found)
    for name, draw in tqdm(drawn.items(), "drawing charts", unit="chart", **on_terminals()):
        charts.save_chart(report / name, draw)


def write_evaluation(assessments: Sequence[Assessment], output: Path) -> None:
    """Prints the tables of checkpoints and of their differences; writes these and a report.

    Args:
        assessments: One or more; the others are compared with the first.
        output: Folder of `results.csv`, `comparison.csv` and `report.html`, and of what
            `write_results` writes: in a folder for each of several checkpoints.
    """
    from zsl.evaluation.html_report import write_html_report  # Slow to import, and fit has none.

    for assessment in assessments:
        scored, folder = assessment.scored, output
        if len(assessments) > 1:
            folder = output / scored.name.replace("/", "_").lstrip("_")
            print(f"\n{printable(f'{scored.name}: {scored.path}')}")
        for _, evaluations in groupby(assessment.evaluations, key=lambda own: own.protocol):
            vocabulary, omitted = scored.task.vocabulary, scored.num_omitted
            print(f"\n{summary([*evaluations], vocabulary, omitted, scored.scoring)}")
        if not assessment.decisions.empty:
            print(decision_table(assessment.decisions))
        intervals = assessment.evaluations[0].intervals
        write_results(
            folder,
            assessment,
            intervals={f"test/{name}": interval for name, interval in intervals.items()},
            calibration=assessment.calibration,
        )
    frames = [figures_frame(own.scored.name, own.evaluations) for own in assessments]
    with atomic_path(output / "results.csv") as path:
        pd.concat(frames).to_csv(path, index=False)
    comparisons = compare(assessments[0], assessments[1:])
    if comparisons.empty:
        (output / "comparison.csv").unlink(missing_ok=True)  # Of an earlier evaluation.
    else:
        print(f"\nPaired bootstrap over the images\n{comparison_table(comparisons)}")
        with atomic_path(output / "comparison.csv") as path:
            comparisons.to_csv(path, index=False)
    report = output / "report.html"
    write_html_report(report, assessments, comparisons)
    print(f"\nReport: {printable(str(report))}\nTables: {printable(str(output / 'results.csv'))}")
