"""What `zsl.evaluate` prints and writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from zsl.data import Split
from zsl.evaluation import html_report
from zsl.evaluation.assessment import Assessment
from zsl.evaluation.callback import summary
from zsl.evaluation.html_report import Section
from zsl.evaluation.label_table import circumstances, draw, label_table
from zsl.evaluation.results import Comparison, as_frame, comparison_table, record
from zsl.evaluation.scoring import Tested
from zsl.files.atomic import atomic_path, write_atomically
from zsl.metrics.bootstrap import interval
from zsl.versions import versions

_HEADLINES = ("zsl/mAP", "gzsl/mAP", "seen/mAP", "harmonic_mAP", "zsl/F1@", "gzsl/F1@")


def print_and_write(results: list[tuple[Tested, Assessment]], output: Path) -> None:
    """Prints the tables of the checkpoints; writes tables, pictures and the report."""
    sections = []
    for tested, assessment in results:
        folder = output if len(results) == 1 else output / tested.name.replace("/", "_").lstrip("_")
        if len(results) > 1:
            print(f"\n{tested.name}: {tested.path}")
        _print_figures(tested, assessment)
        sections.append(_section(tested, assessment))
        _write_checkpoint(tested, assessment, sections[-1].labels, folder)
    frames = [_frame(*result) for result in results]
    with atomic_path(output / "results.csv") as path:
        pd.concat(frames).to_csv(path, index=False)
    comparisons = [pair for other in results[1:] for pair in compare(results[0], other)]
    if comparisons:
        print(f"\nPaired bootstrap over the images\n{comparison_table(comparisons)}")
        frame = pd.DataFrame(comparisons)
        frame["is_more_than_noise"] = [pair.is_more_than_noise for pair in comparisons]
        with atomic_path(output / "comparison.csv") as path:
            frame.to_csv(path, index=False)
    else:
        (output / "comparison.csv").unlink(missing_ok=True)  # Of an earlier evaluation.
    report = output / "report.html"
    html_report.write(report, sections, comparisons)
    print(f"\nReport: {report}\nTables: {output / 'results.csv'}")


def _print_figures(tested: Tested, assessment: Assessment) -> None:
    omitted = tested.data.omitted(Split.TEST)
    for evaluation, intervals in zip(assessment.evaluations, assessment.intervals, strict=True):
        own = [line for line in assessment.lines if line.protocol == evaluation.protocol]
        print(f"\n{summary(evaluation, omitted, own, intervals.get('harmonic_mAP'))}")


def _frame(tested: Tested, assessment: Assessment) -> pd.DataFrame:
    """All figures of a checkpoint: those of its lines, and the harmonic means."""
    harmonic = [
        {
            "protocol": evaluation.protocol.images,
            "empty": evaluation.protocol.empty,
            "ties": evaluation.protocol.ties,
            "group": "zsl and seen",
            "metric": "harmonic_mAP",
            "value": evaluation.harmonic_map,
            **dict(zip(("low", "high"), sure.get("harmonic_mAP", ()), strict=False)),
        }
        for evaluation, sure in zip(assessment.evaluations, assessment.intervals, strict=True)
    ]
    frame = pd.concat([as_frame(assessment.lines), pd.DataFrame(harmonic)])
    frame.insert(0, "checkpoint", tested.name)
    return frame


def _section(tested: Tested, assessment: Assessment) -> Section:
    """What the report says of a checkpoint."""
    task, recipe = tested.task, tested.data.recipe
    evaluation = assessment.evaluations[0]
    return Section(
        tested.name,
        {
            "checkpoint": str(tested.path),
            "model": f"{_name(task.hparams['head'])} on {_name(task.hparams['backbone'])}",
            "labels": task.encoder.describe(),
            "data": f"{_name(recipe)} {recipe['init_args'].get('root', '')}".strip(),
            "data's fingerprint": tested.data.fingerprint,
            "precision": tested.precision,
            "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
            "harmonic mean of ZSL and seen mAP": _harmonic_mean(assessment),
        },
        assessment.lines,
        label_table(task, evaluation.average_precision, tested.targets),
        tested.scores,
        tested.targets,
        tested.picture,
    )


def _name(part: dict[str, Any]) -> str:
    """Class and name of a part: `TimmBackboneConfig resnet50`."""
    return f"{part['class_path'].rpartition('.')[2]} {part['init_args'].get('name', '')}".strip()


def _harmonic_mean(assessment: Assessment) -> str:
    """In words, since it belongs to no line: it is of two groups of labels."""
    sure = assessment.intervals[0].get("harmonic_mAP")
    text = f"{assessment.evaluations[0].harmonic_map:.3f}"
    return f"{text} [{sure[0]:.3f}, {sure[1]:.3f}]" if sure else text


def _write_checkpoint(
    tested: Tested, assessment: Assessment, labels: pd.DataFrame, folder: Path
) -> None:
    evaluation = assessment.evaluations[0]
    results = record(evaluation, tested.data.omitted(Split.TEST))
    results |= circumstances(tested.data, tested.precision)
    results["intervals"] = {f"test/{k}": sure for k, sure in assessment.intervals[0].items()}
    results["calibration"] = assessment.calibration
    write_atomically(folder / "results.json", json.dumps(results, indent=2).encode())
    draw(folder / "report", labels, tested.scores, tested.targets, tested.picture)


def compare(
    first: tuple[Tested, Assessment], second: tuple[Tested, Assessment]
) -> list[Comparison]:
    """Compares the headline figures of two checkpoints by the same draws of the same images.

    Returns:
        A comparison for each figure that both have; none without a bootstrap, or where the
        checkpoints were not asked the same labels of the same images, which is said.
    """
    (one, a), (other, b) = first, second
    asked_alike = (one.names, one.roles, one.index) == (other.names, other.roles, other.index)
    if not asked_alike or not torch.equal(one.targets, other.targets):
        print(
            f"note: {other.name} is not compared with {one.name}: they were not asked the same "
            "labels of the same images."
        )
        return []
    names = [name for name in a.replicates[0] if name.startswith(_HEADLINES)]
    figures = [assessment.evaluations[0].logged("test") for assessment in (a, b)]
    comparisons = []
    for name in names:
        difference = figures[1][f"test/{name}"] - figures[0][f"test/{name}"]
        low, high = interval(b.replicates[0][name] - a.replicates[0][name], difference)
        comparisons.append(Comparison(one.name, other.name, name, difference, low, high))
    return comparisons
