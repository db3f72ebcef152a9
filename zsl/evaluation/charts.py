"""Charts of the AP of labels, of predictions and of label vectors."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image
from torch import Tensor

from zsl.errors import printable
from zsl.evaluation.label_table import best_and_worst, labels_in_question
from zsl.files.atomic import write_atomically
from zsl.labels import Role

COLOURS = {Role.SEEN: "#4477AA", Role.HELD_OUT: "#88BBCC", Role.UNSEEN: "#EE7733"}
CURVES = "curves.png"
"""The name of the chart of a training in the report of its run."""
_LEAST_SPAN = 0.05
MAX_BARS = 48
"""Labels named in a column of a chart; of more, the first and the last are shown."""


def save_chart(path: Path, draw: Callable[[], Figure]) -> None:
    """Draws a figure and writes it to a PNG file; missing folders are made."""
    buffer = BytesIO()
    draw().savefig(buffer, dpi=110)
    write_atomically(path, buffer.getvalue())


def curves(metrics: pd.DataFrame, monitor: str, best: float) -> Figure:
    """The loss in training, and above it what the checkpoint was selected by.

    Args:
        metrics: What the run logged: columns `step` and `epoch` (both counted from 0), `train/loss`
            and the monitor, NaN where a row does not have it.
        monitor: The name of what the selection watches.
        best: Its value at the checkpoint.
    """
    figure = Figure(figsize=(7, 5.2), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    watched = metrics.dropna(subset=monitor)
    passes = watched["epoch"] + 1
    top.plot(passes, watched[monitor], "o-", color=COLOURS[Role.UNSEEN], markersize=4)
    selected = np.flatnonzero(np.isclose(watched[monitor], best))[:1]
    ring = {"color": "black", "markersize": 11, "fillstyle": "none"}
    top.plot(passes.iloc[selected], watched[monitor].iloc[selected], "o", **ring)
    middle = (watched[monitor].min() + watched[monitor].max()) / 2
    low, high = top.get_ylim()
    # Differences that are noise should not fill the chart.
    top.set_ylim(min(low, middle - _LEAST_SPAN / 2), max(high, middle + _LEAST_SPAN / 2))
    top.set_ylabel(monitor, fontsize=9)
    title = f"{monitor} {best:.3f}"
    if len(selected):
        title += f" after pass {passes.iloc[selected[0]]:.0f} of {passes.max():.0f}: the checkpoint"
    top.set_title(title, fontsize=11)
    if "train/loss" in metrics:  # A short training may end before it is logged.
        losses = metrics.dropna(subset="train/loss")
        steps_a_pass = (watched["step"].iloc[-1] + 1) / passes.iloc[-1]
        done = (losses["step"] + 1) / steps_a_pass
        bottom.plot(done, losses["train/loss"], color=COLOURS[Role.SEEN])
    bottom.set_ylabel("train/loss", fontsize=9)
    bottom.set_xlabel("passes through the training images", fontsize=9)
    bottom.xaxis.get_major_locator().set_params(integer=True)
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def per_class_ap(labels: pd.DataFrame) -> Figure:
    """Bars of the AP of each label: unseen ones left, if there are any, the others right.

    Args:
        labels: Columns `label`, `role`, `AP` (NaN where it is empty), `chance`.
    """
    labels = labels.assign(label=labels["label"].map(printable))
    is_unseen = labels["role"] == Role.UNSEEN
    panels = {Role.UNSEEN: labels[is_unseen], Role.SEEN: labels[~is_unseen]}
    bars = {
        role: best_and_worst(panel, "AP", MAX_BARS) for role, panel in panels.items() if len(panel)
    }
    height = 1.6 + 0.2 * max(len(panel) for panel in bars.values())
    figure = Figure(figsize=(6.5 * len(bars), height), layout="constrained")
    columns = figure.subplots(1, len(bars), squeeze=False)[0]
    for axes, (role, panel) in zip(columns, bars.items(), strict=True):
        _draw_bars(axes, panel[::-1])  # From the bottom up.
        own = labels.loc[labels["role"] == role, "AP"].fillna(0)
        axes.axvline(own.mean(), color="black", linewidth=1, linestyle="--")
        is_held_out = panel["role"] == Role.HELD_OUT
        notes = ["pale: held out for selection"] if is_held_out.any() else []
        if len(panel) < len(panels[role]):
            best = (len(panel) + 1) // 2
            notes.append(f"the {best} best and the {len(panel) - best} worst with a positive")
        which = f"{role} " if len(bars) > 1 else ""
        title = f"{len(own)} {which}labels, mAP {own.mean():.3f}"
        axes.set_title("\n".join([title, "; ".join(notes)]), fontsize=11)
    return figure


def _draw_bars(axes: Any, labels: pd.DataFrame) -> None:
    rows = np.arange(len(labels))
    colours = [COLOURS[Role(role)] for role in labels["role"]]
    axes.barh(rows, labels["AP"].fillna(0), color=colours, height=0.75)
    axes.plot(labels["chance"], rows, "|", color="black", markersize=6)
    names = [
        f"{name} (no {'negative' if chance else 'positive'})" if np.isnan(ap) else name
        for name, ap, chance in zip(labels["label"], labels["AP"], labels["chance"], strict=True)
    ]
    axes.set_yticks(rows, names, fontsize=8, parse_math=False)
    axes.set_ylim(-0.7, len(labels) - 0.3)
    axes.set_xlim(0, 1)
    axes.set_xlabel("average precision (tick: chance; dashed: mAP)", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def label_space(labels: pd.DataFrame, vectors: Tensor) -> Figure:
    """A map of the label vectors, and how near each unseen label is to its nearest seen one.

    Args:
        labels: Columns `name`, `role`, `nearest` and `cosine`.
        vectors: (L, W), a row for each label.
    """
    labels = labels.assign(name=labels["name"].map(printable))
    unseen = labels[labels["role"] == Role.UNSEEN]
    others = best_and_worst(unseen, "cosine", MAX_BARS)[::-1]  # From the bottom up.
    title = "How near the unseen labels are to what was trained"
    if len(unseen) > MAX_BARS:
        title += f"\nthe {MAX_BARS // 2} nearest and the {MAX_BARS // 2} farthest"
    height = max(6.5, 1.5 + 0.2 * len(others))
    figure = Figure(figsize=(15, height), layout="constrained")
    space, bars = figure.subplots(1, 2, width_ratios=[1.3, 1])
    _draw_map(space, labels, vectors)
    rows = np.arange(len(others))
    colours = [COLOURS[Role(role)] for role in others["role"]]
    bars.barh(rows, others["cosine"], color=colours, height=0.75)
    for row, (nearest, cosine) in enumerate(zip(others["nearest"], others["cosine"], strict=True)):
        bars.text(
            max(cosine, 0) + 0.01,
            row,
            printable(nearest),
            fontsize=7,
            va="center",
            parse_math=False,
        )
    bars.set_yticks(rows, others["name"], fontsize=8, parse_math=False)
    bars.set_ylim(-0.7, len(others) - 0.3)
    bars.set_xlim(min(0, others["cosine"].min()), 1.6)
    bars.set_xticks([0, 0.5, 1])
    bars.set_xlabel("cosine to the nearest seen label; the nearest three", fontsize=9)
    bars.spines[["top", "right"]].set_visible(False)
    bars.set_title(title, fontsize=11)
    return figure


def _draw_map(axes: Any, labels: pd.DataFrame, vectors: Tensor) -> None:
    """The two directions in which the vectors, at unit length, vary most."""
    unit = torch.nn.functional.normalize(vectors)
    centred = unit - unit.mean(dim=0)
    directions = torch.linalg.svd(centred, full_matrices=False)[2][:2]
    points = torch.nn.functional.pad(centred @ directions.T, (0, 2 - len(directions))).numpy()
    for role in Role:
        own = (labels["role"] == role).to_numpy()
        size, name = (12, "o") if role is Role.SEEN else (28, "D")
        label = f"{own.sum()} {role.replace('_', ' ')}"
        axes.scatter(*points[own].T, s=size, marker=name, color=COLOURS[role], label=label)
    names = labels["name"].tolist()
    seen = np.flatnonzero(labels["role"] == Role.SEEN)
    shown = [*np.flatnonzero(labels["role"] != Role.SEEN), *seen[:: max(1, len(seen) // 60)]]
    for row in shown:
        is_seen = labels["role"].iat[row] == Role.SEEN
        axes.annotate(
            names[row],
            points[row],
            fontsize=6 if is_seen else 8,
            color="#666666" if is_seen else "black",
            xytext=(3, 2),
            textcoords="offset points",
            parse_math=False,
        )
    axes.legend(loc="best", fontsize=9)
    axes.set_title("Label vectors, along their first two principal components", fontsize=11)
    axes.set_xticks([])
    axes.set_yticks([])


def predictions(
    labels: pd.DataFrame, scores: Tensor, targets: Tensor, image: Callable[[int], Image.Image]
) -> Figure:
    """A grid of test images with their true labels and their best guesses.

    Args:
        labels: Columns `label` and `role`, a row for each column of scores and targets.
        scores: (N, L), from 0 to 1.
        targets: int8 (N, L).
        image: Returns the image of a row.
    """
    labels = labels.assign(label=labels["label"].map(printable))
    roles = [role for role in Role if (labels["role"] == role).any()]
    columns, rows = 4, 3
    shown = _pick(labels, targets, columns * rows)
    figure = Figure(figsize=(4.3 * columns, 2.75 * rows + 0.5), layout="constrained")
    if Role.UNSEEN in roles:
        handles = [Patch(color=COLOURS[r], label=f"{r.replace('_', ' ')} label") for r in roles]
        title = "Top three of all labels, then top two of the other unseen ones; ✓: true label"
        figure.legend(
            handles=handles, loc="outside upper center", ncols=3, frameon=False, title=title
        )
    else:
        figure.suptitle("Top five labels; ✓: true label", fontsize=10)
    cells = figure.subplots(rows, 2 * columns, width_ratios=[1, 0.8] * columns).reshape(-1, 2)
    for cell, row in zip(cells, shown, strict=False):
        _draw_prediction(cell, labels, scores[row], targets[row], image(row))
    for axes in cells[len(shown) :].flat:
        axes.set_axis_off()
    return figure


def _pick(labels: pd.DataFrame, targets: Tensor, count: int) -> list[int]:
    """Evenly spaced images with a label in question, or of all images where these are too few."""
    columns = labels_in_question(labels).to_numpy()
    candidates = np.flatnonzero((targets.numpy()[:, columns] == 1).any(axis=1))
    if len(candidates) < count:
        candidates = np.arange(len(targets))
    chosen = np.linspace(0, len(candidates) - 1, min(count, len(candidates)))
    return [int(candidates[position]) for position in chosen.astype(int)]


def _draw_prediction(
    cell: Any, labels: pd.DataFrame, scores: Tensor, targets: Tensor, image: Image.Image
) -> None:
    image_axes, bar_axes = cell
    image.thumbnail((400, 400))
    image_axes.imshow(image)
    image_axes.set_axis_off()
    names, roles = labels["label"].tolist(), labels["role"].tolist()
    true = [names[position] for position in (targets == 1).nonzero().flatten().tolist()]
    title = ", ".join(true) or "no label"
    image_axes.set_title(
        "\n".join(textwrap.wrap(title, 34)), fontsize=8, loc="left", parse_math=False
    )
    for row, position in enumerate(_shown_labels(scores, roles)):
        score = float(scores[position])
        colour = COLOURS[Role(roles[position])]
        mark = " ✓" if targets[position] == 1 else ""
        bar_axes.barh(row, 1, color="#EEEEEE", height=0.45)
        bar_axes.barh(row, score, color=colour, height=0.45)
        text = f"{names[position]}{mark}"
        bar_axes.text(0, row - 0.3, text, fontsize=8, va="bottom", parse_math=False)
    bar_axes.set_xlim(0, 1)
    bar_axes.set_ylim(4.6, -0.9)
    bar_axes.set_axis_off()


def _shown_labels(scores: Tensor, roles: list[str]) -> list[int]:
    """The three best labels of all, then the two best unseen ones besides; best first.

    The five best where no label is unseen.
    """
    order = scores.argsort(descending=True).tolist()
    if Role.UNSEEN not in roles:
        return order[:5]
    unseen = [position for position in order[3:] if roles[position] == Role.UNSEEN]
    return order[:3] + unseen[:2]
