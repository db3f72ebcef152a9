"""The picture of a sweep: what each strength does to unseen and seen labels."""

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
}


def strength(points: pd.DataFrame, trials: pd.DataFrame, names: list[str]) -> Figure | None:
    """Two panels for each numeric parameter: mAP of unseen and of seen labels over its values.

    They show points that differ in this parameter alone: those around the selected point, else
    the largest such group, else all trials as a cloud.

    Args:
        points: Columns of the names, `selected`, and `... mean` and `... sd` of the figures.
        trials: Columns of the names and the figures.
        names: The parameters.

    Returns:
        The picture; None where no parameter has two numbers as values.
    """
    shown = [name for name in names if _is_numeric(points[name])]
    if not shown:
        return None
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(4.6 * columns, 4.8 * rows + 0.6), layout="constrained")
    panels = figure.subplots(2 * rows, columns, sharey="row", squeeze=False)
    short = short_names(names)
    for place in range(rows * columns):
        row, column = divmod(place, columns)
        pair = panels[2 * row : 2 * row + 2, column]
        if place < len(shown):
            _draw_pair(pair, points, trials, shown[place], short)
        else:
            for axes in pair:
                axes.set_axis_off()
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", frameon=False)
    return figure


def short_names(names: list[str]) -> dict[str, str]:
    """The last part of each path, where it is another's last part too the whole path."""
    last = [name.rsplit(".", 1)[-1] for name in names]
    return {
        name: end if last.count(end) == 1 else name for name, end in zip(names, last, strict=True)
    }


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


def _draw_pair(
    pair: Any, points: pd.DataFrame, trials: pd.DataFrame, name: str, short: dict[str, str]
) -> None:
    """Unseen labels above seen ones, for their mAP differs by more than any strength does."""
    group = group_of(points, short, name)
    for axes, figure in zip(pair, CURVES, strict=True):
        _draw_curve(axes, points, trials, group, name, figure)
    pair[0].set_title("\n".join(textwrap.wrap(_rest(group, name, short), 52)), fontsize=8)
    pair[0].tick_params(labelbottom=False)
    pair[1].set_xlabel(name)


def _draw_curve(
    axes: Any,
    points: pd.DataFrame,
    trials: pd.DataFrame,
    group: pd.DataFrame | None,
    name: str,
    figure: str,
) -> None:
    role, labels = CURVES[figure]
    colour = COLOURS[role]
    selected = points[points["selected"]]
    if group is None:
        axes.plot(trials[name], trials[figure], "o", color=colour, alpha=0.6)
    else:
        line = group.sort_values(name)
        mean, deviation = line[f"{figure} mean"], line[f"{figure} sd"].fillna(0)
        axes.errorbar(line[name], mean, deviation, color=colour, marker="o", capsize=3)
    is_shown = group is None or group["selected"].any()
    # Drawn in each panel, so that the legend of the first one has it.
    axes.plot(
        selected[name] if is_shown else [],
        selected[f"{figure} mean"] if is_shown else [],
        "o",
        markersize=13,
        markerfacecolor="none",
        markeredgecolor="black",
        label="selected on held-out labels",
    )
    values = points[name]
    if values.min() > 0 and values.max() / values.min() >= 100:
        axes.set_xscale("log")
    axes.set_ylabel(f"mAP of {labels}" if axes.get_subplotspec().is_first_col() else "")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _rest(group: pd.DataFrame | None, name: str, short: dict[str, str]) -> str:
    """What the other parameters are in a panel."""
    if group is None:
        return "all trials; the other parameters differ too"
    first = group.iloc[0]
    rest = [f"{short[other]} {value_text(first[other])}" for other in short if other != name]
    return "with " + ", ".join(rest) if rest else ""
