"""The figures of a test as text, as a data frame and as what results.json holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from zsl.errors import listing, printable
from zsl.files.output_text import aligned
from zsl.labels import Role, Vocabulary
from zsl.metrics import Evaluation, MostFrequent, label_group
from zsl.metrics.groups import untrained_group

_WIDTH = 80


def rows(evaluations: Sequence[Evaluation]) -> list[tuple[str, Evaluation]]:
    """Pairs of a group's name and an evaluation of it: by protocol, group, then calibration."""
    pairs = [(group, evaluation) for evaluation in evaluations for group in evaluation.groups]
    groups = list(dict.fromkeys(group for group, _ in pairs))
    protocols = list(dict.fromkeys(evaluation.protocol for evaluation in evaluations))
    return sorted(pairs, key=lambda row: (protocols.index(row[1].protocol), groups.index(row[0])))


def metric_names(evaluations: Sequence[Evaluation]) -> tuple[list[str], list[str]]:
    """The names of the headline metrics (mAP, P/R/F1@K, of fixed classes others), and the rest."""
    groups = [pair for evaluation in evaluations for pair in evaluation.groups.items()]
    names = max((list(result.metrics) for _, result in groups), key=len)
    headline = [
        name
        for name in names
        if any(label_group(group).has_in_headline(name) for group, _ in groups)
    ]
    return headline, [name for name in names if name not in headline]


def summary(
    evaluations: Sequence[Evaluation], vocabulary: Vocabulary, num_omitted: int, scoring: str
) -> str:
    """The headline figures as text, with their protocol and the number of images.

    Args:
        evaluations: Under one protocol, that of the raw scores first.
        vocabulary: The labels that were scored.
        num_omitted: Test images that are listed, but missing or unreadable.
        scoring: How scores were made; empty where they are the head's.
    """
    raw = evaluations[0]
    omitted = f" Listed, but missing or unreadable: {num_omitted:,}." if num_omitted else ""
    lines = [
        f"Test on {raw.num_images:,} images.{omitted}",
        f"Protocol {raw.protocol}: {raw.protocol.definition}.",
        *([f"Scores: {scoring}."] if scoring else []),
        "",
        figures_table(evaluations),
    ]
    if sentence := held_out_sentence(vocabulary):
        lines += ["", sentence]
    if raw.harmonic_map is not None:
        interval = raw.intervals.get("harmonic_mAP")
        range_ = f" (95 % interval {interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
        lines += ["", f"{harmonic_title(raw)}: {raw.harmonic_map:.3f}{range_}"]
    if raw.most_frequent is not None:
        lines += ["", *most_frequent_sentences(raw)]
    return "\n".join(lines)


def held_out_sentence(vocabulary: Vocabulary) -> str:
    """Says how the numbers of labels add up, and which are held out; empty where none is."""
    held_out = vocabulary.select(Role.HELD_OUT)
    if not held_out:
        return ""
    titles = {Role.UNSEEN: "unseen (ZSL)", Role.SEEN: "seen", Role.HELD_OUT: "held out"}
    counts = {title: len(vocabulary.select(role)) for role, title in titles.items()}
    terms = " + ".join(f"{count:,} {title}" for title, count in counts.items() if count)
    return (
        f"Labels: {terms} = {len(vocabulary):,} (GZSL). Held out, which were not trained but "
        f"selected the checkpoint: {listing(held_out)}."
    )


def harmonic_title(evaluation: Evaluation) -> str:
    """Names the harmonic mean of an evaluation that has one."""
    title = label_group(untrained_group(evaluation.groups) or "").title
    return f"Harmonic mean of {title} and seen mAP"


def most_frequent_sentences(evaluation: Evaluation) -> list[str]:
    """Says what the most frequent labels are, and whether the figures are above theirs."""
    floor = evaluation.most_frequent
    if floor is None:
        return []
    above, others = [], []
    for name, (low, high) in floor.gains.items():
        group, _, metric = name.rpartition("/")
        title = f"{label_group(group).title} {metric}"
        if low > 0:
            above.append(title)
        else:
            others.append(f"{title} ({_signed(low)} to {_signed(high)})")
    kinds = {
        "Above the most frequent by more than noise": above,
        "Not above that by more than noise (95 % interval of the difference)": others,
    }
    found = [f"{kind}: {', '.join(names)}." for kind, names in kinds.items() if names]
    return [f"Most frequent: the same labels for every image, {floor.source}.", *found]


def figures_table(evaluations: Sequence[Evaluation]) -> str:
    """The headline figures as text, with half their interval's width, and what is below them.

    The number of images is left out where all rows have that of `summary`'s first sentence, the
    number of labels without a positive where there is none. Where lines would still be wider than
    80 columns, there is a table for each K.
    """
    names, _ = metric_names(evaluations)
    pairs = rows(evaluations)
    results = [evaluation.groups[group] for group, evaluation in pairs]
    counts = {
        "images": [result.num_images for result in results],
        "labels": [result.num_labels for result in results],
        "empty": [result.num_empty for result in results],
    }
    if {*counts["images"]} == {evaluations[0].num_images}:
        del counts["images"]
    if not any(counts["empty"]):
        del counts["empty"]
    cells, blank = [["", *counts, *names]], [""] * len(counts)
    for row, (group, evaluation) in enumerate(pairs):
        title = label_group(group).title
        title += f", {evaluation.calibration}" if evaluation.calibration else ""
        figures = [_number(results[row].metrics.get(name)) for name in names]
        cells.append([title, *(f"{column[row]:,}" for column in counts.values()), *figures])
        halves = [_half_width(evaluation.intervals.get(f"{group}/{name}")) for name in names]
        if any(halves):
            cells.append(["  95 % interval", *blank, *halves])
        if not evaluation.calibration:
            chance = [_number(results[row].chance.get(name)) for name in names]
            cells.append(["  chance", *blank, *chance])
        if (floor := evaluation.most_frequent) is not None:
            figures = [_number(floor.figures.get(f"{group}/{name}")) for name in names]
            cells.append(["  most frequent", *blank, *figures])
    table = aligned(cells, num_left=1)
    if len(table.partition("\n")[0]) <= _WIDTH:
        return table
    ks = list(dict.fromkeys(name.partition("@")[2] for name in names if "@" in name))
    of_k: dict[str, list[int]] = {k: [0] for k in ks}
    for column, name in enumerate(cells[0][1:], 1):
        of_k[name.partition("@")[2] or ks[0]].append(column)
    tables = ([[row[column] for column in columns] for row in cells] for columns in of_k.values())
    return "\n\n".join(aligned(table, num_left=1) for table in tables)


def comparison_table(comparisons: pd.DataFrame) -> str:
    """Differences from `zsl.evaluation.assessment.compare` as text, below each pair's names."""
    cells = [["", "difference", "95 % interval", ""]]
    pairs = []
    for pair in comparisons.itertuples():
        pairs.append(printable(f"{pair.second} - {pair.first}"))
        interval = f"{pair.low:+.4f} to {pair.high:+.4f}"
        verdict = "more than noise" if pair.is_more_than_noise else "within the noise"
        cells.append([f"  {pair.metric}", f"{pair.difference:+.4f}", interval, verdict])
    header, *rest = aligned(cells, num_left=1).splitlines()
    lines = [header]
    for row, line in enumerate(rest):
        if row == 0 or pairs[row] != pairs[row - 1]:
            lines.append(pairs[row])
        lines.append(line)
    return "\n".join(lines)


def _signed(value: float) -> str:
    """A difference, without the sign of one that is rounded to 0 from below."""
    return f"{round(value, 3) + 0.0:+.3f}"


def _half_width(interval: tuple[float, float] | None) -> str:
    return f"±{(interval[1] - interval[0]) / 2:.3f}" if interval else ""


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def figures_frame(name: str, evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """A row for each figure of a checkpoint, with everything it depends on.

    Args:
        name: Name of the checkpoint.
        evaluations: Under one protocol or several.
    """
    records = [
        {
            "group": group,
            "images": result.num_images,
            "labels": result.num_labels,
            "empty_labels": result.num_empty,
            "metric": metric,
            "value": value,
            "chance": result.chance.get(metric),
        }
        | _circumstances(evaluation, f"{group}/{metric}")
        for group, evaluation in rows(evaluations)
        for result in [evaluation.groups[group]]
        for metric, value in result.metrics.items()
    ]
    records += [
        {
            "group": f"{untrained_group(evaluation.groups)} and seen",
            "metric": "harmonic_mAP",
            "value": evaluation.harmonic_map,
        }
        | _circumstances(evaluation, "harmonic_mAP")
        for evaluation in evaluations
        if evaluation.harmonic_map is not None and not evaluation.calibration
    ]
    columns = ["checkpoint", "protocol", "empty", "ties", "average", "calibration", "group"]
    columns += ["images", "labels", "empty_labels", "metric", "value", "low", "high", "chance"]
    columns += ["most_frequent", "gain_low", "gain_high"]
    return pd.DataFrame(records).assign(checkpoint=name)[columns]


def _circumstances(evaluation: Evaluation, figure: str) -> dict[str, Any]:
    low, high = evaluation.intervals.get(figure, (None, None))
    floor = evaluation.most_frequent or MostFrequent({}, "")
    gain_low, gain_high = floor.gains.get(figure, (None, None))
    protocol = evaluation.protocol
    return {
        "protocol": protocol.images,
        "empty": protocol.empty,
        "ties": protocol.ties,
        "average": protocol.average,
        "calibration": evaluation.calibration,
        "low": low,
        "high": high,
        "most_frequent": floor.figures.get(figure),
        "gain_low": gain_low,
        "gain_high": gain_high,
    }


def results_record(evaluation: Evaluation, num_omitted: int, scoring: str) -> dict[str, Any]:
    """The figures under their logged names, with their protocol and N.

    Args:
        evaluation: Figures of the raw scores.
        num_omitted: Test images that are listed, but missing or unreadable.
        scoring: How scores were made; empty where they are the head's.
    """
    groups = evaluation.groups
    floor = evaluation.most_frequent or MostFrequent({}, "not computed")
    return {
        "protocol": {
            "name": str(evaluation.protocol),
            "definition": evaluation.protocol.definition,
            "scores": scoring or "as the head gives them",
            "most_frequent": floor.source,
            "num_images": evaluation.num_images,
            "num_images_left_out": num_omitted,
            "num_images_counted": {name: result.num_images for name, result in groups.items()},
            "num_labels": {name: result.num_labels for name, result in groups.items()},
            "num_labels_empty": {name: result.num_empty for name, result in groups.items()},
        },
        "metrics": evaluation.logged("test"),
        "chance": {
            f"test/{group}/{name}": value
            for group, result in groups.items()
            for name, value in result.chance.items()
        },
        "most_frequent": {f"test/{name}": value for name, value in floor.figures.items()},
        "more_than_most_frequent": {f"test/{name}": gain for name, gain in floor.gains.items()},
    }
