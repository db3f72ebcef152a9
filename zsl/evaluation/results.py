"""The figures of a test as lines: in the terminal, in results.csv and in results.json."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from torch import Tensor

from zsl.metrics import Evaluation, GroupResult, Protocol
from zsl.metrics.bootstrap import interval

GROUPS = {"zsl": "ZSL", "gzsl": "GZSL", "seen": "seen"}


@dataclass(frozen=True)
class Line:
    """The figures of labels asked together, under one protocol."""

    group: str
    """`zsl`, `gzsl` or `seen`."""
    protocol: Protocol
    result: GroupResult
    calibration: str = ""
    """What was done to the scores: nothing, `stacking` or `per label`."""
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    """95 % intervals by the names of the metrics, where they were made."""


def lines(
    evaluation: Evaluation, replicates: dict[str, Tensor] | None = None, calibration: str = ""
) -> list[Line]:
    """A line for each group of labels.

    Args:
        evaluation: The figures.
        replicates: Theirs by bootstrap, (R,) by name, e.g. `zsl/mAP`.
        calibration: What was done to the scores.
    """
    replicates = replicates or {}
    return [
        Line(
            group,
            evaluation.protocol,
            result,
            calibration,
            {
                name: interval(replicates[f"{group}/{name}"], value)
                for name, value in result.metrics.items()
                if f"{group}/{name}" in replicates
            },
        )
        for group, result in evaluation.groups.items()
    ]


@dataclass(frozen=True)
class Comparison:
    """A figure of two checkpoints on the same images: what the second has more than the first."""

    first: str
    second: str
    metric: str
    """Under its logged name, e.g. `zsl/mAP`."""
    difference: float
    low: float
    """Of the 95 % interval of the difference, by paired bootstrap."""
    high: float

    @property
    def is_more_than_noise(self) -> bool:
        """The interval leaves out 0."""
        return self.low > 0 or self.high < 0


def comparison_table(comparisons: list[Comparison]) -> str:
    """The comparisons as text."""
    rows = [["", "", "difference", "95 % interval", ""]]
    for pair in comparisons:
        rows.append(
            [
                f"{pair.second} - {pair.first}",
                pair.metric,
                f"{pair.difference:+.4f}",
                f"{pair.low:+.4f} to {pair.high:+.4f}",
                "more than noise" if pair.is_more_than_noise else "within the noise",
            ]
        )
    return aligned(rows, num_left=2)


def as_frame(lines: list[Line]) -> pd.DataFrame:
    """A row for each figure, with all that it depends on."""
    return pd.DataFrame(
        [
            {
                "protocol": line.protocol.images,
                "empty": line.protocol.empty,
                "ties": line.protocol.ties,
                "calibration": line.calibration,
                "group": line.group,
                "images": line.result.num_images,
                "labels": line.result.num_labels,
                "empty_labels": line.result.num_empty,
                "metric": name,
                "value": value,
                "low": line.intervals.get(name, (None, None))[0],
                "high": line.intervals.get(name, (None, None))[1],
                "chance": line.result.chance.get(name),
            }
            for line in lines
            for name, value in line.result.metrics.items()
        ]
    )


def record(evaluation: Evaluation, num_omitted: int) -> dict[str, Any]:
    """The figures under their logged names, with their protocol and N."""
    groups = evaluation.groups
    return {
        "protocol": {
            "name": str(evaluation.protocol),
            "definition": evaluation.protocol.definition,
            "num_images": evaluation.num_images,
            "num_images_left_out": num_omitted,
            "num_images_counted": {name: result.num_images for name, result in groups.items()},
            "num_labels": {name: result.num_labels for name, result in groups.items()},
            "num_labels_without_positive": {
                name: result.num_empty for name, result in groups.items()
            },
        },
        "metrics": evaluation.logged("test"),
        "chance": {
            f"test/{group}/{name}": value
            for group, result in groups.items()
            for name, value in result.chance.items()
        },
    }


def table(lines: list[Line]) -> str:
    """The headline figures as text, with half their interval's width and their chance level."""
    most = max((line.result.metrics for line in lines), key=len)
    names = [name for name in most if name == "mAP" or "@" in name]
    rows = [["", "protocol", "images", "labels", "empty", *names]]
    for line in lines:
        title = GROUPS[line.group] + (f", {line.calibration}" if line.calibration else "")
        counts = (line.result.num_images, line.result.num_labels, line.result.num_empty)
        cells = [_number(line.result.metrics.get(name)) for name in names]
        rows.append([title, str(line.protocol), *(f"{count:,}" for count in counts), *cells])
        if line.intervals:
            halves = [_half_width(line.intervals.get(name)) for name in names]
            rows.append(["  95 % interval", "", "", "", "", *halves])
        if not line.calibration:
            chance = [_number(line.result.chance.get(name)) for name in names]
            rows.append(["  chance", "", "", "", "", *chance])
    return aligned(rows, num_left=2)


def aligned(rows: list[list[str]], num_left: int) -> str:
    """Rows of cells as text, the first columns to the left and the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < num_left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _half_width(interval: tuple[float, float] | None) -> str:
    return f"±{(interval[1] - interval[0]) / 2:.3f}" if interval else ""


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
