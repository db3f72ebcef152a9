"""Charts of the AP of labels as SVG for the HTML report, with text set by the browser."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from zsl.errors import printable
from zsl.evaluation.charts import COLOURS
from zsl.labels import Role

_LONGEST_NAME = 22


def as_svg(draw: Callable[[], Figure]) -> bytes:
    """Draws a figure as SVG, the same bytes each time."""
    # Text stays text: the browser has glyphs of more scripts than matplotlib's font.
    with (
        warnings.catch_warnings(),
        matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "zsl"}),
    ):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        buffer = io.BytesIO()
        draw().savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def chance_corrected(labels: pd.DataFrame) -> pd.Series:
    """How far the AP of each label is from chance (0) to perfect (1); NaN where chance is 1.

    `(AP - chance) / (1 - chance)`, so that frequent and rare labels can be compared.

    Args:
        labels: Columns `AP` and `chance`.
    """
    room = (1 - labels["chance"]).where(labels["chance"] < 1)
    return (labels["AP"] - labels["chance"]) / room


def _by_role(labels: pd.DataFrame) -> list[tuple[Role, pd.DataFrame]]:
    parts = [(role, labels[labels["role"] == role]) for role in Role]
    return [(role, own) for role, own in parts if len(own)]


def ap_by_cosine(labels: pd.DataFrame) -> Figure:
    """Chance-corrected AP of labels that were not trained over their nearness to a seen one.

    Args:
        labels: Columns `label`, `role`, `AP`, `chance`, `positives` and `cosine`; one row or more
            has an AP.
    """
    labels = labels.assign(height=chance_corrected(labels)).dropna(subset="height")
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="black", linewidth=1, linestyle=":", zorder=0)
    axes.axhline(1, color="black", linewidth=1, linestyle=":", zorder=0)
    for role, own in _by_role(labels):
        axes.scatter(
            own["cosine"],
            own["height"],
            s=12 + 90 * np.sqrt(own["positives"] / labels["positives"].max()),
            color=COLOURS[role],
            alpha=0.8,
            zorder=2,
            label=f"{len(own)} {role.replace('_', '-')}",
        )
    axes.set_xlabel("cosine to the nearest seen label")
    axes.set_ylabel("AP, from chance (0) to perfect (1)")
    axes.margins(x=0.12, y=0.1)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper left", ncols=2, frameon=False)
    extreme = (labels["height"] - labels["height"].median()).abs().sort_values(ascending=False)
    _name_points(figure, axes, labels.loc[extreme.index])
    return figure


def _name_points(figure: Figure, axes: Any, labels: pd.DataFrame) -> None:
    """Writes names beside their points as long as there is room, the first ones first."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    points = axes.transData.transform(labels[["cosine", "height"]].to_numpy())
    taken: list[Bbox] = []
    for name, point in zip(labels["label"], points, strict=True):
        text = axes.text(0, 0, shortened(name), fontsize=9, va="center", parse_math=False, zorder=1)
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0})
        text.set_in_layout(False)
        size = text.get_window_extent(renderer)
        box = _free_box(point, size.width, size.height, axes.bbox, taken, points)
        if box is None:
            text.remove()
            continue
        taken.append(box)
        text.set_position(axes.transData.inverted().transform((box.x0, (box.y0 + box.y1) / 2)))


def shortened(name: str) -> str:
    """Cuts a long name; XML allows no control characters."""
    name = printable(name)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _free_box(
    point: NDArray[np.floating],
    width: float,
    height: float,
    frame: Bbox,
    taken: list[Bbox],
    points: NDArray[np.floating],
) -> Bbox | None:
    """A free box for a name right, left, above or below its point; None if there is none."""
    x, y = point
    gap = 9
    for left, bottom in (
        (x + gap, y - height / 2),
        (x - gap - width, y - height / 2),
        (x - width / 2, y + gap),
        (x - width / 2, y - gap - height),
    ):
        box = Bbox.from_bounds(left, bottom, width, height)
        inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 <= frame.y1
        if inside and not box.count_contains(points) and not box.count_overlaps(taken):
            return box
    return None


def ap_by_rank(labels: pd.DataFrame) -> Figure:
    """AP of the labels of each role, sorted: for more labels than can be named.

    Args:
        labels: Columns `role`, `AP` (NaN where it is empty) and `chance`.
    """
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.subplots()
    for role, own in _by_role(labels.dropna(subset="AP")):
        ordered = own.sort_values("AP", ascending=False)
        shares = (np.arange(len(ordered)) + 0.5) / len(ordered)
        colour = COLOURS[role]
        text = f"{len(own)} {role.replace('_', '-')}"
        axes.plot(shares, ordered["AP"], color=colour, linewidth=2, label=text)
        axes.plot(shares, ordered["chance"], ".", color=colour, markersize=2, alpha=0.5)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["best", "25 %", "50 %", "75 %", "worst"])
    axes.set_xlabel("share of the labels with this AP or a higher one (dots: their chance)")
    axes.set_ylabel("average precision")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper left", ncols=3, frameon=False)
    return figure
