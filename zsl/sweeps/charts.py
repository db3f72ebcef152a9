"""The chart of a sweep: what each strength does to unseen and seen labels."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from zsl.evaluation.charts import COLOURS
from zsl.labels import Role

CURVES = {
    "test/zsl/mAP": (Role.UNSEEN, "unseen labels"),
    "test/seen/mAP": (Role.SEEN, "seen labels"),
    "test/all/mAP": (Role.SEEN, "all labels"),
}


def strength(points: pd.DataFrame, trials: pd.DataFrame, names: list[str]) -> Figure | None:
    """Panels for each numeric parameter: mAP over its values, of unseen, seen or all labels.

    They show points that differ in this parameter alone: those around the selected point, else
    the largest such group, else all trials as a cloud.

    Args:
        points: Columns of the names, `selected`, and `... mean` and `... sd` of the figures.
        trials: Columns of the names and the figures.
        names: The parameters.

    Returns:
        The chart; None where no parameter has two numbers as values.
    """
    shown = [name for name in names if _is_numeric(points[name])]
    if not shown:
        return None
    curves = [curve for curve in CURVES if f"{curve} mean" in points]
    figure = Figure(figsize=(4.6 * len(curves), 3.2 * len(shown) + 0.6), layout="constrained")
    # A column each, for their mAP differs by more than any strength does.
    panels = figure.subplots(len(shown), len(curves), sharey="col", squeeze=False)
    for name, row in zip(shown, panels, strict=True):
        group = group_of(points, names, name)
        title = _title_of(group, name, short_names(names))
        for axes, curve in zip(row, curves, strict=True):
            _draw_curve(axes, points, trials, group, name, curve)
            axes.set_title("\n".join(textwrap.wrap(title, 52)), fontsize=8, parse_math=False)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", frameon=False)
    return figure


def short_names(names: list[str]) -> dict[str, str]:
    """The last part of each path, where it is another's last part too the whole path."""
    last = [name.rsplit(".", 1)[-1] for name in names]
    pairs = zip(names, last, strict=True)
    return {name: end if last.count(end) == 1 else name for name, end in pairs}


def value_text(value: Any) -> str:
    """A value of a parameter in few letters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def group_of(points: pd.DataFrame, parameters: Iterable[str], name: str) -> pd.DataFrame | None:
    """Points that differ in one parameter alone: the selected one's, else the largest group."""
    others = [column for column in parameters if column != name]
    keys = [str(row) for row in points[others].to_numpy().tolist()]
    groups = [group for _, group in points.groupby(keys) if group[name].nunique() > 1]
    return max(groups, key=lambda group: (group["selected"].any(), len(group)), default=None)


def _is_numeric(values: pd.Series) -> bool:
    numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in values]
    return all(numbers) and values.nunique() > 1


def _title_of(group: pd.DataFrame | None, name: str, short: dict[str, str]) -> str:
    """What the other parameters are in a panel."""
    if group is None:
        return "all trials; the other parameters differ too"
    first = group.iloc[0]
    rest = [f"{short[other]} {value_text(first[other])}" for other in short if other != name]
    return "with " + ", ".join(rest) if rest else ""


def _draw_curve(
    axes: Any,
    points: pd.DataFrame,
    trials: pd.DataFrame,
    group: pd.DataFrame | None,
    name: str,
    figure: str,
) -> None:
    role, labels = CURVES[figure]
    line = trials if group is None else group.sort_values(name)
    if group is None:
        axes.plot(line[name], line[figure], "o", color=COLOURS[role], alpha=0.6)
    else:
        mean, deviation = line[f"{figure} mean"], line[f"{figure} sd"].fillna(0)
        axes.errorbar(line[name], mean, deviation, color=COLOURS[role], marker="o", capsize=3)
    # Drawn in each panel, though empty, so that the legend of the first one has it.
    shown = points if group is None else group
    selected = shown[shown["selected"]]
    ring = {"markersize": 13, "markerfacecolor": "none", "markeredgecolor": "black"}
    label = "selected in validation"
    axes.plot(selected[name], selected[f"{figure} mean"], "o", label=label, **ring)
    if points[name].min() > 0 and points[name].max() / points[name].min() >= 100:
        axes.set_xscale("log")
    axes.set_xlabel(name)
    axes.set_ylabel(f"test mAP of {labels}")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
