"""An evaluation as one HTML file with figures, charts and images, which loads nothing else."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from zsl.errors import printable
from zsl.evaluation import svg_charts
from zsl.evaluation.assessment import Assessment
from zsl.evaluation.charts import COLOURS, CURVES
from zsl.evaluation.decisions import reliability_chart
from zsl.evaluation.error_analysis import examples, rank_correlation, shares_above
from zsl.evaluation.label_table import best_and_worst, labels_in_question
from zsl.evaluation.results import (
    harmonic_title,
    held_out_sentence,
    metric_names,
    most_frequent_sentences,
    rows,
)
from zsl.files.atomic import write_atomically
from zsl.labels import Role
from zsl.metrics import Evaluation, label_group
from zsl.notes import waiting
from zsl.versions import versions

MAX_BARS = 96
"""Labels with a bar, of the unseen and of the others; of more, the best and the worst."""
NUM_EXTREMES = 4
"""Best and worst labels in question with images."""
NUM_BEST_IMAGES = 4
NUM_MISSED_IMAGES = 2
THUMBNAIL_SIDE = 160
JPEG_QUALITY = 80
NUM_ABOVE = 3
"""Labels named for each unseen label that they score higher than."""
MAX_ROWS = 20
"""Unseen labels in the map of labels that score higher, and in their table before it is opened."""
MAX_COLUMNS = 24
"""Other labels in the map."""


def write_html_report(
    path: Path, assessments: Sequence[Assessment], comparisons: pd.DataFrame
) -> None:
    """Writes the report.

    Args:
        path: The HTML file.
        assessments: One for each checkpoint, one or more.
        comparisons: From `zsl.evaluation.assessment.compare`; empty for a single checkpoint.
    """
    environment = Environment(
        loader=PackageLoader("zsl.evaluation"),
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["match"] = lambda text, pattern: re.match(pattern, text) is not None
    with waiting(f"writing {path.name}"):
        sections = [_section(assessment) for assessment in assessments]
    page = environment.get_template("report.html").render(
        sections=sections,
        comparisons=list(comparisons.itertuples()),
        side_by_side=_side_by_side(assessments) if len(assessments) > 1 else [],
        protocols={
            str(evaluation.protocol): evaluation.protocol.definition
            for assessment in assessments
            for evaluation in assessment.evaluations
        },
        colours=COLOURS,
        label_group=label_group,
        max_rows=MAX_ROWS,
    )
    # A path can hold bytes that are not text.
    write_atomically(path, page.encode(errors="replace"))


def _side_by_side(assessments: Sequence[Assessment]) -> list[dict[str, Any]]:
    """For each group, calibration and protocol, the evaluations of the checkpoints by name."""
    found: dict[tuple[str, str, str], dict[str, Evaluation]] = {}
    for assessment in assessments:
        for group, evaluation in rows(assessment.evaluations):
            key = (group, evaluation.calibration, str(evaluation.protocol))
            found.setdefault(key, {})[assessment.scored.name] = evaluation
    return [
        {
            "group": group,
            "calibration": calibration,
            "protocol": protocol,
            "evaluations": evaluations,
        }
        for (group, calibration, protocol), evaluations in found.items()
    ]


def _section(assessment: Assessment) -> dict[str, Any]:
    """What the template shows of a checkpoint."""
    labels = assessment.labels
    is_unseen = labels["role"] == Role.UNSEEN
    others = "seen and held-out " if is_unseen.any() else ""
    parts = {"unseen ": labels[is_unseen], others: labels[~is_unseen]}
    is_cut = any(len(part) > MAX_BARS for part in parts.values())
    headline, other_metrics = metric_names(assessment.evaluations)
    return {
        "name": assessment.scored.name,
        "facts": _facts(assessment),
        "rows": rows(assessment.evaluations),
        "headline": headline,
        "held_out": held_out_sentence(assessment.scored.task.vocabulary),
        "curves": _curves(assessment.scored.path),
        "most_frequent": most_frequent_sentences(assessment.evaluations[0]),
        "other_metrics": other_metrics,
        "labels": _records(best_and_worst(labels, "AP", len(labels))),
        "bars": {name: _bars(part) for name, part in parts.items() if len(part)},
        "rank_chart": _chart(svg_charts.ap_by_rank, labels) if is_cut else None,
        "has_vectors": "cosine" in labels,
        "roles": [role for role in Role if (labels["role"] == role).any()],
        "cosine_chart": _cosine_chart(labels[labels["role"] != Role.SEEN]),
        "correlation": _correlation(labels[is_unseen]),
        "decisions": _records(assessment.decisions),
        "reliability_chart": _reliability_chart(assessment),
        "examples": _examples(assessment),
        **_confusion(assessment),
    }


def _facts(assessment: Assessment) -> dict[str, str]:
    """What the figures depend on, and the harmonic mean, which belongs to no single group."""
    scored = assessment.scored
    hparams, recipe = scored.task.hparams, scored.data.recipe
    facts = {
        "checkpoint": str(scored.path),
        "model": f"{_part_name(hparams['head'])} on {_part_name(hparams['backbone'])}",
        "labels": scored.task.encoder.describe() if scored.task.encoder else "fixed classes",
        "data": f"{_part_name(recipe)} {recipe['init_args'].get('root', '')}".strip(),
        "data's fingerprint": scored.data.fingerprint,
        "precision": scored.precision,
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }
    if scored.scoring:
        facts["scores"] = scored.scoring
    first = assessment.evaluations[0]
    if first.harmonic_map is not None:
        interval = first.intervals.get("harmonic_mAP")
        range_ = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
        facts[harmonic_title(first)] = f"{first.harmonic_map:.3f}{range_}"
    return facts


def _curves(checkpoint: Path | None) -> str | None:
    """The chart of the training, if it is there, as the address of an `img`."""
    if checkpoint is None:
        return None
    path = checkpoint.absolute().parent.parent / "report" / CURVES
    if not path.is_file():
        return None
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _part_name(part: dict[str, Any]) -> str:
    """Class and name of a part: `TimmBackboneConfig resnet50`."""
    return f"{part['class_path'].rpartition('.')[2]} {part['init_args'].get('name', '')}".strip()


def _records(labels: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """Rows as dictionaries, with None in place of NaN."""
    return labels.astype(object).where(labels.notna(), None).to_dict("records")


def _bars(labels: pd.DataFrame) -> dict[str, Any]:
    return {"rows": _records(best_and_worst(labels, "AP", MAX_BARS)), "count": len(labels)}


def _chart(draw: Callable[[pd.DataFrame], Figure], labels: pd.DataFrame) -> str:
    return _as_address(lambda: draw(labels))


def _as_address(draw: Callable[[], Figure]) -> str:
    """An SVG image as the address of an `img`, out of reach of the page's styles."""
    svg = svg_charts.as_svg(draw)
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def _cosine_chart(labels: pd.DataFrame) -> str | None:
    has_points = svg_charts.chance_corrected(labels).notna().any()
    return _chart(svg_charts.ap_by_cosine, labels) if has_points else None


def _reliability_chart(assessment: Assessment) -> str | None:
    found = assessment.reliabilities
    return _as_address(lambda: reliability_chart(found)) if found else None


def _correlation(unseen: pd.DataFrame) -> float | None:
    if "cosine" not in unseen:
        return None
    heights = svg_charts.chance_corrected(unseen)
    known = heights.notna()
    cosines = torch.tensor(unseen["cosine"][known].to_numpy(float))
    return rank_correlation(cosines, torch.tensor(heights[known].to_numpy(float)))


def _examples(assessment: Assessment) -> dict[str, list[dict[str, Any]]]:
    """Cards of the best and of the worst labels in question, each with images."""
    labels = assessment.labels
    shown = labels[labels_in_question(labels)].dropna(subset="AP")
    which = "unseen " if Role.UNSEEN in set(shown["role"]) else ""
    columns = best_and_worst(shown, "AP", 2 * NUM_EXTREMES).index.tolist()
    num_best = (len(columns) + 1) // 2
    best, worst = columns[:num_best], columns[num_best:][::-1]
    kinds = {
        f"Best {which}labels": [_card(assessment, column, 0) for column in best],
        f"Worst {which}labels": [_card(assessment, column, NUM_MISSED_IMAGES) for column in worst],
    }
    return {title: cards for title, cards in kinds.items() if cards}


def _card(assessment: Assessment, column: int, num_missed: int) -> dict[str, Any]:
    """A label with images that it scores highest, and positives that it scores lowest."""
    scored = assessment.scored
    scores, targets = scored.scores[:, column], scored.targets[:, column]
    chosen = examples(scores, targets, NUM_BEST_IMAGES, num_missed)
    ranks = {row: rank + 1 for rank, row in enumerate(chosen.best)} | chosen.missed
    images = [
        {
            "source": _thumbnail(scored.image(row)),
            "rank": rank,
            "is_right": bool(targets[row] == 1),
            "is_missed": row in chosen.missed,
            "true": _true_labels(assessment, row),
        }
        for row, rank in ranks.items()
    ]
    return {
        "label": assessment.labels.iloc[column].to_dict(),
        "images": images,
        "num_known": chosen.num_known,
    }


def _true_labels(assessment: Assessment, row: int) -> str:
    columns = (assessment.scored.targets[row] == 1).nonzero().flatten().tolist()
    return ", ".join(assessment.labels["label"].iloc[columns]) or "no label"


def _thumbnail(image: Image.Image) -> str:
    """A small JPEG as the address of an `img`."""
    small = image.convert("RGB")
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _confusion(assessment: Assessment) -> dict[str, Any]:
    """Unseen labels below others in their own images: a table, and a map of its first rows."""
    labels = assessment.labels
    unseen = labels.index[labels["role"] == Role.UNSEEN].tolist()
    others = labels.index[labels["role"] != Role.UNSEEN].tolist()
    scored = assessment.scored
    confusion, columns = [], []
    for label in unseen:  # Not all at once: thousands of labels would take gigabytes.
        (shares,) = shares_above(scored.scores, scored.targets, [label], others)
        if shares.isnan().any():
            continue
        top = shares.argsort(descending=True, stable=True)[:NUM_ABOVE].tolist()
        columns.append(label)
        confusion.append(
            {
                **labels.iloc[label].to_dict(),
                "total": float(shares.sum()),
                "above": [
                    {
                        "share": float(shares[column]),
                        "column": column,
                        **labels.iloc[others[column]].to_dict(),
                    }
                    for column in top
                    if shares[column] > 0
                ],
            }
        )
    order = sorted(range(len(confusion)), key=lambda row: -confusion[row]["total"])
    confusion = [confusion[row] for row in order]
    first = [columns[row] for row in order[:MAX_ROWS]]
    shares = shares_above(scored.scores, scored.targets, first, others)
    return {
        "confusion": confusion,
        "num_others": len(others),
        "map": _map(confusion[:MAX_ROWS], shares, labels.iloc[others]),
    }


def _map(confusion: list[dict[str, Any]], shares: Tensor, others: pd.DataFrame) -> dict[str, Any]:
    """Shares of the most frequent labels among those named in the rows.

    Args:
        confusion: R rows of the table.
        shares: (R, S) of these rows.
        others: The S labels.
    """
    involved = sorted({label["column"] for row in confusion for label in row["above"]})
    total = shares[:, involved].sum(dim=0)
    chosen = [involved[i] for i in total.argsort(descending=True, stable=True).tolist()]
    columns = chosen[:MAX_COLUMNS]
    return {
        "columns": others.iloc[columns].to_dict("records"),
        "rows": [
            {"label": row["label"], "shares": own[columns].tolist()}
            for row, own in zip(confusion, shares, strict=True)
        ],
        "num_involved": len(involved),
    }
