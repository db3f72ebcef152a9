"""What a sweep found: tables of its trials and of its points, and a chart."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from optuna.trial import FrozenTrial

from zsl.errors import InputError, printable
from zsl.files.atomic import atomic_path, write_atomically
from zsl.files.output_text import aligned
from zsl.sweeps import charts
from zsl.sweeps.spec import SEED, Sweep, values_of
from zsl.sweeps.study import Study

TEST_FIGURES = ["test/zsl/mAP", "test/seen/mAP", "test/gzsl/mAP", "test/harmonic_mAP"]
FIXED_TEST_FIGURES = ["test/all/mAP", "test/all/Acc@1", "test/all/CF1", "test/all/OF1"]


def write_results(study: Study) -> str:
    """Writes tables and chart to the sweep's folder; returns what a person should see of them."""
    sweep = study.sweep
    names, figures = swept_names(sweep), [sweep.metric, *figures_of_test(sweep.metric)]
    columns = ["trial", "state", "setting", *names, "seed", *figures, "folder", "host", "message"]
    rows = [_row_of(trial, sweep, names) for trial in study.trials()]
    # Objects, so that None stays None among the values of a parameter.
    trials = pd.DataFrame(rows, columns=columns, dtype=object)
    trials = trials.astype(dict.fromkeys(figures, float))
    lacking = lacking_figures(trials, figures[1:])
    trials, figures = trials.drop(columns=lacking), [f for f in figures if f not in lacking]
    complete = trials[trials["state"] == "complete"]
    points = points_of(complete, names, figures, sweep.maximize)
    for name, table in (("trials", trials), ("points", points)):
        with atomic_path(sweep.folder / f"{name}.csv") as path:
            table.to_csv(path, index=False, float_format="%.6g")
    if figure := charts.strength(points, trials, names):
        buffer = BytesIO()
        figure.savefig(buffer, dpi=110)
        write_atomically(sweep.folder / "strength.png", buffer.getvalue())
    counts = trials["state"].value_counts()
    text = ", ".join(f"{number} {state}" for state, number in counts.items()) or "no"
    return (
        f"\nSweep {sweep.name}: {text} trials.\n{_points_text(points, sweep, figures)}\n"
        f"Results: {sweep.folder}"
    )


def figures_of_test(metric: str) -> list[str]:
    """The figures of a test that may stand beside a metric of the validation."""
    return FIXED_TEST_FIGURES if metric.startswith("val/all/") else TEST_FIGURES


def lacking_figures(trials: pd.DataFrame, figures: list[str]) -> list[str]:
    """The figures that no trial has, though it has others: F1 of images with one class each."""
    lacking = [name for name in figures if trials[name].isna().all()]
    return lacking if len(lacking) < len(figures) else []


def _row_of(trial: FrozenTrial, sweep: Sweep, names: list[str]) -> dict[str, Any]:
    values, config = trial.user_attrs.get("values", {}), trial.user_attrs.get("config", {})
    drawn, short = flat(values), charts.short_names(names)
    lost = "its machine or process died" if trial.state.name == "FAIL" else ""
    words = [f"{short[n]} {charts.value_text(v)}" for n, v in drawn.items() if n in short]
    return {
        **{name: resolved(config, name) if config else drawn.get(name) for name in names},
        **trial.user_attrs.get("results", {}),
        "trial": trial.number,
        "state": "failed" if trial.state.name == "FAIL" else trial.state.name.lower(),
        "setting": ", ".join(words),
        "seed": config.get(SEED, values.get(SEED)),
        sweep.metric: trial.value,
        "folder": str(sweep.folder / f"trial_{trial.number}"),
        "host": trial.user_attrs.get("host", ""),
        "message": trial.user_attrs.get("message") or lost,
    }


def _points_text(points: pd.DataFrame, sweep: Sweep, figures: list[str]) -> str:
    if points.empty:
        return "None is complete, so there is nothing to compare."
    are_maps = all(figure.endswith("mAP") for figure in figures)
    titles = [re.sub(r".mAP$", "", figure) if are_maps else figure for figure in figures]
    cells = [["n", *titles], *(_cells(point, figures) for point in points.to_dict("records"))]
    header, *rows = aligned(cells, num_left=0).splitlines()
    marks = points["selected"].map({True: "* ", False: "  "})
    lines = [header]
    for mark, setting, row in zip(marks, points["setting"], rows, strict=True):
        lines += [f"{mark}{printable(setting)}", row]
    goal = "highest" if sweep.maximize else "lowest"
    return (
        f"Mean {'mAP ' * are_maps}± standard deviation over n seeds. * is selected in validation,\n"
        f"by the {goal} mean {sweep.metric}; the test's figures have no part in that.\n\n"
        + "\n".join(lines)
        + "\n"
    )


def _cells(point: dict[Hashable, Any], figures: list[str]) -> list[str]:
    """The number of trials of a setting, and each figure's mean and standard deviation."""
    pairs = ((point[f"{figure} mean"], point[f"{figure} sd"]) for figure in figures)
    shown = [f"{m:.3f}" + ("" if pd.isna(sd) else f" ± {sd:.3f}") for m, sd in pairs]
    return [str(point["n"]), *shown]


class Tables(NamedTuple):
    """What a sweep wrote, read again.

    `trials` has a row for each trial; `points` one for each setting, with means and standard
    deviations over its complete trials. `names` are the columns of the arguments that differ,
    `figures` those of the figures, by the first of which the setting was selected.
    """

    trials: pd.DataFrame
    points: pd.DataFrame
    names: list[str]
    figures: list[str]


def read_tables(folder: str | Path) -> Tables:
    """Reads `trials.csv` and `points.csv` of a sweep's folder.

    Raises:
        InputError: They are missing, or another version's.
    """
    try:
        trials, points = (pd.read_csv(Path(folder, f"{name}.csv")) for name in ("trials", "points"))
        columns = trials.columns.tolist()
        first, seed, last = map(columns.index, ("setting", "seed", "folder"))
    except (FileNotFoundError, ValueError) as error:
        raise InputError(
            f"{folder} is not the folder of a sweep of this version ({error}); run the command of "
            "the sweep again to write its tables anew."
        ) from error
    names = columns[first + 1 : seed]
    for table in (trials, points):
        for name in names:
            values = table[name].astype(object)
            table[name] = values.where(values.notna(), None)
    return Tables(trials, points, names, figures=columns[seed + 1 : last])


def points_of(
    trials: pd.DataFrame, names: list[str], figures: list[str], maximize: bool
) -> pd.DataFrame:
    """Means and standard deviations (ddof 1) of trials with the same values, best first.

    Args:
        trials: A row for each trial, with columns `setting`, the names and the figures.
        names: Columns of the values.
        figures: Columns to average; the first one decides on `selected`.
        maximize: Whether more of it is better.
    """
    keys = [json.dumps(list(row), default=str) for row in trials[names].to_numpy().tolist()]
    groups = trials.groupby(pd.Series(keys, index=trials.index, dtype=str), sort=False)
    points = groups.head(1)[["setting", *names]].assign(n=groups.size().to_numpy())
    for figure in figures:
        points[f"{figure} mean"] = groups[figure].mean().to_numpy()
        points[f"{figure} sd"] = groups[figure].std().to_numpy()
    points = points.sort_values(f"{figures[0]} mean", ascending=not maximize, ignore_index=True)
    points.insert(0, "selected", points.index == 0)
    return points


def swept_names(sweep: Sweep) -> list[str]:
    """Paths of the arguments that differ between trials, the seed left out."""
    swept = {name: values_of(one) for name, one in sweep.parameters.items() if name != SEED}
    paths = [flat({name: own}) for name, values in swept.items() if values[1:] for own in values]
    return list(dict.fromkeys(path for flattened in paths for path in flattened))


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Replaces dictionaries by their elements: `{"a": {"b": 1}}` becomes `{"a.b": 1}`."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        is_group = isinstance(value, dict)
        result |= flat(value, f"{prefix}{name}.") if is_group else {f"{prefix}{name}": value}
    return result


def resolved(config: dict[str, Any], name: str) -> Any:
    """The value of an argument in a run's config; None where there is none."""
    value: Any = config
    for key in name.split("."):
        if not isinstance(value, dict):
            return None
        value = value[key] if key in value else value.get("init_args", {}).get(key)
    return value
