"""Decisions at the thresholds of a checkpoint, beside other thresholds, on its test images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from zsl.evaluation.charts import COLOURS
from zsl.evaluation.scoring import TaskScores
from zsl.files.output_text import aligned
from zsl.labels import Role
from zsl.metrics.bootstrap import Bootstrap, interval
from zsl.metrics.decisions import (
    Reliability,
    best_threshold,
    decision_counts,
    decision_figures,
    oracle_decisions,
    reliability,
)
from zsl.metrics.evaluation import of_columns
from zsl.metrics.groups import label_group
from zsl.metrics.per_image import precision_recall_f1
from zsl.models import Answers

CHOSEN = "label's own threshold"
_FIGURES = ("precision", "recall", "F1", "macro_F1")
_ALL, _HELD_OUT = "validation", "held-out labels"
_GROUPS = ("zsl", "held_out", "seen", "all")
_ROLES = {"zsl": Role.UNSEEN, "held_out": Role.HELD_OUT}
_TICKS = (0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99)


def decision_frame(scored: TaskScores, bootstrap: Bootstrap | None) -> pd.DataFrame:
    """Compares decisions by different thresholds.

    Returns:
        A row for each group of labels (unseen, seen; or all of fixed classes) and rule, with
        `precision`, `recall`, `F1` over all images and labels, `low` and `high` of its 95 %
        interval, `macro_F1`, the mean over labels, and `ECE`, the expected calibration error of
        probabilities. Empty where the scores have no calibration.
    """
    if scored.answers is None:
        return pd.DataFrame()
    thresholds = _validation_thresholds(scored)
    records = []
    for group, columns in scored.groups.items():
        if group not in _GROUPS:
            continue
        targets = of_columns(scored.targets, columns)
        for rule, yes, probabilities in _rules(scored, scored.answers, columns, thresholds):
            figures = decision_figures(yes, targets)
            record = {"group": group, "rule": rule} | figures
            if bootstrap is not None:
                counts = torch.stack(decision_counts(yes, targets, dim=1)).float()
                drawn = precision_recall_f1(*(counts @ bootstrap.counts))[2]
                record["low"], record["high"] = interval(drawn, figures["F1"])
            if probabilities is not None:
                record["ECE"] = reliability(probabilities, targets).error
            records.append(record)
    return pd.DataFrame(records)


def own_decisions(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of the checkpoint's own thresholds as plain values, without intervals."""
    if frame.empty:
        return []
    own = frame.loc[frame["rule"] == CHOSEN, ["group", *_FIGURES, "ECE"]].round(6)
    return [dict(zip(own.columns, row, strict=True)) for row in own.itertuples(index=False)]


def reliabilities(scored: TaskScores) -> dict[str, Reliability]:
    """By group of labels, probabilities beside how often labels are present."""
    if scored.answers is None:
        return {}
    return {
        group: reliability(
            scored.answers.select(columns).probabilities(of_columns(scored.scores, columns)),
            of_columns(scored.targets, columns),
        )
        for group, columns in scored.groups.items()
        if group in _GROUPS
    }


def reliability_chart(found: dict[str, Reliability]) -> Figure:
    """Draws how often labels are present over their probabilities, both on a logit scale.

    Args:
        found: From `reliabilities`, one or more.
    """
    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    axes = figure.subplots()
    low = min(float(own.predicted.min()) for own in found.values())
    ends = [max(low / 2, 1e-4), 0.99]
    axes.plot(ends, ends, color="black", linewidth=1, linestyle=":")
    for group, own in found.items():
        role = _ROLES.get(group, Role.SEEN)
        title = f"{label_group(group).title}, ECE {own.error:.3f}"
        shown = own.present.clamp(*ends)
        axes.plot(own.predicted, shown, "o-", color=COLOURS[role], markersize=4, label=title)
    axes.set(xscale="logit", yscale="logit", xlim=ends, ylim=ends)
    axes.set_xlabel("probability", fontsize=9)
    axes.set_ylabel("share of the images that have the label", fontsize=9)
    axes.legend(frameon=False, fontsize=9)
    ticks = [tick for tick in _TICKS if ends[0] <= tick <= ends[1]]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=9)
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _rules(
    scored: TaskScores, answers: Answers, columns: list[int], thresholds: dict[str, float]
) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """Yields rules: a name, the decisions bool (N, L), and the probabilities that it takes."""
    scores, targets = of_columns(scored.scores, columns), of_columns(scored.targets, columns)
    own = answers.select(columns)
    probabilities = own.probabilities(scores)
    yield CHOSEN, probabilities >= own.thresholds, probabilities
    if scored.task.scores_are_log_odds:
        yield "score of 0.5", scores > 0, scores.sigmoid()
    for name, least in thresholds.items():
        if name == _ALL or scored.roles[columns[0]] != Role.SEEN:
            yield f"best on {name}", scores >= least, None
    yield "best on the test", oracle_decisions(scores, targets), None


def _validation_thresholds(scored: TaskScores) -> dict[str, float]:
    """Returns the one best threshold on validation images for all labels, and for held-out ones."""
    if scored.validation is None:
        return {}
    found = {}
    for name, roles in ((_ALL, {Role.SEEN, Role.HELD_OUT}), (_HELD_OUT, {Role.HELD_OUT})):
        chosen = torch.tensor([role in roles for role in scored.roles])
        if chosen.any():
            found[name] = best_threshold(*(part[:, chosen] for part in scored.validation))
    return found


def decision_table(frame: pd.DataFrame) -> str:
    """The frame as text, with a title."""
    cells = [["labels", "yes above", "P", "R", "F1", "", "macro F1", "ECE"]]
    for row in frame.to_dict("records"):
        half = f"±{(row['high'] - row['low']) / 2:.3f}" if "high" in row else ""
        error = row.get("ECE")
        numbers = [f"{row[name]:.3f}" for name in _FIGURES]
        ece = "" if error is None or pd.isna(error) else f"{error:.3f}"
        title = label_group(str(row["group"])).title
        cells.append([title, str(row["rule"]), *numbers[:3], half, numbers[3], ece])
    return f"\nProbabilities and decisions\n{aligned(cells, num_left=2)}"
