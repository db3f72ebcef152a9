"""An evaluation as one HTML file: figures, charts and pictures, with nothing to load beside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from zsl.evaluation import svg_charts
from zsl.evaluation.charts import COLOURS
from zsl.evaluation.error_analysis import best_and_worst, examples, rank_correlation, shares_above
from zsl.evaluation.results import GROUPS, Comparison, Line
from zsl.files.atomic import write_atomically
from zsl.labels import Role

GROUP_MEANINGS = {
    "zsl": "the unseen labels alone",
    "gzsl": "all labels together",
    "seen": "the seen labels alone",
}
MAX_BARS = 96
"""Labels with a bar, of the unseen and of the others; of more, the best and the worst."""
NUM_EXTREMES = 4
"""Best and worst unseen labels with pictures."""
NUM_BEST_PICTURES = 4
NUM_MISSED_PICTURES = 2
THUMBNAIL_SIDE = 160
JPEG_QUALITY = 80
NUM_ABOVE = 3
"""Labels named for each unseen label that they score higher than."""
MAX_ROWS = 20
"""Unseen labels in the table and the map of labels that score higher, as they are opened."""
MAX_COLUMNS = 24
"""Other labels in the map."""


@dataclass(frozen=True)
class Section:
    """What the report says of one checkpoint."""

    name: str
    """Short, another for each section."""
    facts: dict[str, str]
    """What the figures depend on: the checkpoint's path, the encoder, the data's fingerprint."""
    lines: list[Line]
    labels: pd.DataFrame
    """A row for each column of the scores, as `zsl.evaluation.callback.label_table` makes them."""
    scores: Tensor
    """Logits float32 (N, L)."""
    targets: Tensor
    """int8 (N, L)."""
    picture: Callable[[int], Image.Image]
    """Gives the picture of a row of the scores."""


def write(path: Path, sections: list[Section], comparisons: list[Comparison]) -> None:
    """Writes the report.

    Args:
        path: The HTML file.
        sections: One for each checkpoint, one or more.
        comparisons: Of their figures, where there are several.
    """
    environment = Environment(
        loader=PackageLoader("zsl.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html").render(
        sections=[_view(section) for section in sections],
        comparisons=comparisons,
        side_by_side=_side_by_side(sections) if len(sections) > 1 else [],
        protocols=_protocols(sections),
        colours=COLOURS,
        groups=GROUPS,
        group_meanings=GROUP_MEANINGS,
        max_rows=MAX_ROWS,
    )
    # A path can hold bytes that are no text.
    write_atomically(path, page.encode(errors="replace"))


def _protocols(sections: list[Section]) -> dict[str, str]:
    """Definitions of the protocols by their names."""
    protocols = (line.protocol for section in sections for line in section.lines)
    return {str(protocol): protocol.definition for protocol in protocols}


def _side_by_side(sections: list[Section]) -> list[dict[str, Any]]:
    """For each thing asked, the lines of the sections that asked it."""
    questions: dict[tuple[str, str, str], dict[str, Line]] = {}
    for section in sections:
        for line in section.lines:
            question = (line.group, line.calibration, str(line.protocol))
            questions.setdefault(question, {})[section.name] = line
    return [
        {
            "group": group,
            "calibration": calibration,
            "protocol": protocol,
            "lines": lines,
        }
        for (group, calibration, protocol), lines in questions.items()
    ]


def _view(section: Section) -> dict[str, Any]:
    """What the template shows of a section."""
    labels = section.labels
    is_seen = labels["role"] == Role.SEEN
    parts = {"unseen": labels[labels["role"] == Role.UNSEEN]}
    parts |= {"seen and held-out": labels[labels["role"] != Role.UNSEEN]}
    is_cut = any(len(part) > MAX_BARS for part in parts.values())
    names = max((list(line.result.metrics) for line in section.lines), key=len)
    return {
        "name": section.name,
        "facts": section.facts,
        "lines": section.lines,
        "headline": [name for name in names if _is_headline(name)],
        "other_metrics": [name for name in names if not _is_headline(name)],
        "num_images": len(section.scores),
        "labels": _records(_sorted(labels)),
        "bars": {name: _bars(part) for name, part in parts.items() if len(part)},
        "rank_chart": _chart(svg_charts.ap_by_rank, labels) if is_cut else None,
        "cosine_chart": _cosine_chart(labels[~is_seen]),
        "correlation": _correlation(parts["unseen"]),
        "examples": _examples(section),
        **_confusion(section),
    }


def _is_headline(metric: str) -> bool:
    return metric == "mAP" or "@" in metric


def _sorted(labels: pd.DataFrame) -> pd.DataFrame:
    return labels.sort_values("AP", ascending=False, na_position="last", kind="stable")


def _records(labels: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """Rows as dictionaries, with None in place of NaN."""
    return labels.astype(object).where(labels.notna(), None).to_dict("records")


def _bars(labels: pd.DataFrame) -> dict[str, Any]:
    """Labels by AP, of many the best and the worst that have one; and how many there are."""
    ordered = _sorted(labels)
    if len(ordered) > MAX_BARS:
        ordered = ordered.dropna(subset="AP")
    if len(ordered) > MAX_BARS:
        ordered = pd.concat([ordered.head(MAX_BARS // 2), ordered.tail(MAX_BARS // 2)])
    return {"rows": _records(ordered), "count": len(labels)}


def _chart(draw: Callable[[pd.DataFrame], Figure], labels: pd.DataFrame) -> str:
    """An SVG image as the address of an `img`, where no style of the page gets at it."""
    svg = svg_charts.as_svg(lambda: draw(labels))
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def _cosine_chart(labels: pd.DataFrame) -> str | None:
    has_points = svg_charts.chance_corrected(labels).notna().any()
    return _chart(svg_charts.ap_by_cosine, labels) if has_points else None


def _correlation(unseen: pd.DataFrame) -> float | None:
    heights = svg_charts.chance_corrected(unseen)
    known = heights.notna()
    cosines = torch.tensor(unseen["cosine"][known].to_numpy(float))
    return rank_correlation(cosines, torch.tensor(heights[known].to_numpy(float)))


def _examples(section: Section) -> dict[str, list[dict[str, Any]]]:
    """Cards of the best and of the worst unseen labels, each with pictures."""
    unseen = (section.labels["role"] == Role.UNSEEN).to_numpy().nonzero()[0]
    ap = torch.tensor(section.labels["AP"].to_numpy(float)[unseen])
    best, worst = best_and_worst(ap, NUM_EXTREMES)
    kinds = {
        "Best unseen labels": [_card(section, int(unseen[place]), 0) for place in best],
        "Worst unseen labels": [
            _card(section, int(unseen[place]), NUM_MISSED_PICTURES) for place in worst
        ],
    }
    return {title: cards for title, cards in kinds.items() if cards}


def _card(section: Section, column: int, num_missed: int) -> dict[str, Any]:
    """A label with pictures that it scores highest, and positives that it scores lowest."""
    scores, targets = section.scores[:, column], section.targets[:, column]
    chosen = examples(scores, targets, NUM_BEST_PICTURES, num_missed)
    ranks = {image: rank + 1 for rank, image in enumerate(chosen.best)} | chosen.missed
    pictures = [
        {
            "source": _thumbnail(section.picture(image)),
            "rank": rank,
            "is_right": bool(targets[image] == 1),
            "is_missed": image in chosen.missed,
            "true": _true_labels(section, image),
        }
        for image, rank in ranks.items()
    ]
    return {
        "label": section.labels.iloc[column].to_dict(),
        "pictures": pictures,
        "num_known": chosen.num_known,
    }


def _true_labels(section: Section, image: int) -> str:
    columns = (section.targets[image] == 1).nonzero().flatten().tolist()
    return ", ".join(section.labels["label"].iloc[columns]) or "no label"


def _thumbnail(picture: Image.Image) -> str:
    """A small JPEG as the address of an `img`."""
    small = picture.convert("RGB")
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _confusion(section: Section) -> dict[str, Any]:
    """Unseen labels below others in their own images: rows of a table, and a map of the first."""
    labels = section.labels
    unseen = (labels["role"] == Role.UNSEEN).to_numpy().nonzero()[0].tolist()
    others = (labels["role"] != Role.UNSEEN).to_numpy().nonzero()[0].tolist()
    shares = shares_above(section.scores, section.targets, unseen, others)
    totals = shares.sum(dim=1)
    order = totals.nan_to_num(-1).argsort(descending=True, stable=True)
    order = order[~totals[order].isnan()]
    rows = []
    for row in order.tolist():
        top = shares[row].argsort(descending=True, stable=True)[:NUM_ABOVE].tolist()
        rows.append(
            {
                **labels.iloc[unseen[row]].to_dict(),
                "total": float(totals[row]),
                "above": [
                    {
                        "share": float(shares[row, place]),
                        "place": place,
                        **labels.iloc[others[place]].to_dict(),
                    }
                    for place in top
                    if shares[row, place] > 0
                ],
            }
        )
    return {
        "confusion": rows,
        "num_others": len(others),
        "map": _map(rows[:MAX_ROWS], shares[order[:MAX_ROWS]], labels.iloc[others]),
    }


def _map(rows: list[dict[str, Any]], shares: Tensor, others: pd.DataFrame) -> dict[str, Any]:
    """Shares of the most frequent labels among those named in the rows.

    Args:
        rows: Of the table.
        shares: (R, S) of these rows.
        others: The S labels.
    """
    involved = sorted({label["place"] for row in rows for label in row["above"]})
    total = shares[:, involved].sum(dim=0)
    chosen = [involved[place] for place in total.argsort(descending=True, stable=True).tolist()]
    columns = chosen[:MAX_COLUMNS]
    return {
        "columns": others.iloc[columns].to_dict("records"),
        "rows": [
            {"label": row["label"], "shares": own[columns].tolist()}
            for row, own in zip(rows, shares, strict=True)
        ],
        "num_involved": len(involved),
    }
