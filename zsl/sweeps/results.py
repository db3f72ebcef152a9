"""What a sweep found: tables of its trials and of its points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from optuna.trial import FrozenTrial

from zsl.errors import require
from zsl.files.atomic import atomic_path
from zsl.sweeps import charts
from zsl.sweeps.parameters import Choice
from zsl.sweeps.spec import SEED, Sweep
from zsl.sweeps.study import Study

TEST_FIGURES = ["test/zsl/mAP", "test/seen/mAP", "test/gzsl/mAP", "test/harmonic_mAP"]


class Results:
    """Tables of a study: a row for each trial, and one for each point over its seeds.

    Args:
        study: What was run.
    """

    def __init__(self, study: Study) -> None:
        self.sweep = study.sweep
        self.names = swept_names(self.sweep)
        self.figures = [self.sweep.metric, *TEST_FIGURES]
        rows = [self._row(trial) for trial in study.trials()]
        columns = ["trial", "state", "setting", *self.names, "seed", *self.figures]
        self.trials = _frame(rows, [*columns, "folder", "message"], self.names)
        complete = self.trials[self.trials["state"] == "complete"]
        self.points = points_of(complete, self.names, self.figures, self.sweep.maximize)

    def write(self) -> str:
        """Writes the tables and the picture; returns what a person should see."""
        folder = self.sweep.folder
        for name, table in (("trials", self.trials), ("points", self.points)):
            with atomic_path(folder / f"{name}.csv") as path:
                table.to_csv(path, index=False, float_format="%.6g")
        counts = self.trials["state"].value_counts()
        text = ", ".join(f"{number} {state}" for state, number in counts.items())
        lines = [f"\nSweep {self.sweep.name}: {text or 'no'} trials.", *self._table()]
        figure = charts.strength(self.points, self.trials, self.names)
        if figure is not None:
            with atomic_path(folder / "strength.png") as path:
                figure.savefig(path, dpi=110)
        return "\n".join([*lines, f"Results: {folder}"])

    def _row(self, trial: FrozenTrial) -> dict[str, Any]:
        attributes = trial.user_attrs
        values = attributes.get("values", {})
        config = attributes.get("config", {})
        own = flat(values)
        row = {name: resolved(config, name) if config else own.get(name) for name in self.names}
        row |= {"trial": trial.number, "state": _STATES.get(trial.state.name, trial.state.name)}
        row |= {"seed": config.get(SEED, values.get(SEED)), "setting": self._setting(values)}
        row |= attributes.get("results", {}) | {self.sweep.metric: trial.value}
        row |= {"folder": str(self.sweep.folder / f"trial_{trial.number}")}
        return row | {"message": attributes.get("message", "")}

    def _setting(self, values: dict[str, Any]) -> str:
        """What was asked for, in few words."""
        short = charts.short_names(self.names)
        asked = {name: value for name, value in flat(values).items() if name in short}
        return ", ".join(
            f"{short[name]} {charts.value_text(value)}" for name, value in asked.items()
        )

    def _table(self) -> list[str]:
        if self.points.empty:
            return ["None is complete, so there is nothing to compare."]
        goal = "highest" if self.sweep.maximize else "lowest"
        lines = [
            f"Mean ± standard deviation over seeds. * has the {goal} mean {self.sweep.metric}; it",
            "is selected on held-out seen labels, and the test's figures have no part in that.",
            "",
        ]
        width = max(len("setting"), *map(len, self.points["setting"]))
        heads = "".join(f"{figure:>19}" for figure in self.figures)
        lines.append(f"  {'setting':<{width}}{'n':>4}{heads}")
        for _, point in self.points.iterrows():
            cells = "".join(
                f"{_spread(point[f'{figure} mean'], point[f'{figure} sd']):>19}"
                for figure in self.figures
            )
            mark = "*" if point["selected"] else " "
            lines.append(f"{mark} {point['setting']:<{width}}{point['n']:>4}{cells}")
        return [*lines, ""]


class Tables(NamedTuple):
    """What a sweep wrote, read again."""

    trials: pd.DataFrame
    """A row for each trial."""
    points: pd.DataFrame
    """A row for each setting: means and standard deviations over its complete trials."""
    names: list[str]
    """Columns of the arguments that differ."""
    figures: list[str]
    """Columns of the figures; by the first the setting was selected."""


def read_tables(folder: str | Path) -> Tables:
    """Reads `trials.csv` and `points.csv` of a sweep's folder.

    Raises:
        InputError: They are missing, or none of this version's.
    """
    paths = [Path(folder, f"{name}.csv") for name in ("trials", "points")]
    for path in paths:
        require(
            path.is_file(),
            f"{path} does not exist; expected the folder of a sweep, as python -m zsl.sweep "
            "leaves it.",
        )
    trials, points = map(pd.read_csv, paths)
    columns = trials.columns.tolist()
    for name in ("setting", "seed", "folder"):
        require(
            name in columns,
            f"{paths[0]} has no column {name!r}; run the sweep's command again to write it anew.",
        )
    first, seed, last = (columns.index(name) for name in ("setting", "seed", "folder"))
    names = columns[first + 1 : seed]
    for table in (trials, points):
        for name in names:
            values = table[name].astype(object)
            table[name] = values.where(values.notna(), None)
    return Tables(trials, points, names, figures=columns[seed + 1 : last])


_STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
_STATES |= {"RUNNING": "running", "WAITING": "waiting"}


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
    rows = []
    for _, group in trials.groupby(pd.Series(keys, index=trials.index, dtype=str), sort=False):
        row: dict[str, Any] = {name: group[name].iloc[0] for name in (*names, "setting")}
        row |= {"n": len(group)}
        for figure in figures:
            values = group[figure].astype(float)
            row |= {f"{figure} mean": values.mean(), f"{figure} sd": values.std(ddof=1)}
        rows.append(row)
    spreads = [f"{figure} {kind}" for figure in figures for kind in ("mean", "sd")]
    points = _frame(rows, ["setting", *names, "n", *spreads], names)
    points = points.sort_values(spreads[0], ascending=not maximize, ignore_index=True)
    points.insert(0, "selected", points.index == 0)
    return points


def swept_names(sweep: Sweep) -> list[str]:
    """Paths of the arguments that differ between trials, the seed left out."""
    names: dict[str, None] = {}
    for name, parameter in sweep.parameters.items():
        if name == SEED or (isinstance(parameter, Choice) and len(parameter.values) == 1):
            continue
        for value in parameter.examples():
            names |= dict.fromkeys(flat({name: value}))
    return list(names)


def flat(values: dict[str, Any]) -> dict[str, Any]:
    """Replaces dictionaries by their elements: `{"a": {"b": 1}}` becomes `{"a.b": 1}`."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            result |= flat({f"{name}.{key}": element for key, element in value.items()})
        else:
            result[name] = value
    return result


def resolved(config: dict[str, Any], name: str) -> Any:
    """The value of an argument in a run's config; None where there is none."""
    value: Any = config
    for key in name.split("."):
        if not isinstance(value, dict):
            return None
        value = value[key] if key in value else value.get("init_args", {}).get(key)
    return value


def _frame(rows: list[dict[str, Any]], columns: list[str], plain: list[str]) -> pd.DataFrame:
    """A table in which some columns keep their values as they are, None among floats too."""
    return pd.DataFrame(
        {
            name: pd.Series(
                [row.get(name) for row in rows], dtype=object if name in plain else None
            )
            for name in columns
        }
    )


def _spread(mean: float, deviation: float) -> str:
    return f"{mean:.3f}" + ("" if pd.isna(deviation) else f" ± {deviation:.3f}")
