import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.sweeps.fakes import write
from zsl.errors import InputError
from zsl.evaluation.charts import COLOURS
from zsl.labels import Role
from zsl.sweeps.charts import group_of, short_names, strength
from zsl.sweeps.results import (
    TEST_FIGURES,
    flat,
    lacking_figures,
    points_of,
    read_tables,
    resolved,
    swept_names,
)
from zsl.sweeps.spec import read_sweep

NAMES = ["model.augmentation.noise", "model.augmentation.dropout"]
FIGURES = ["val/zsl/mAP", *TEST_FIGURES]


def trials(settings: list[tuple[Any, Any]], seeds: int = 3) -> pd.DataFrame:
    """Figures that differ between trials; the second setting has the best validation."""
    rows = []
    for index, setting in enumerate(settings):
        for seed in range(seeds):
            row = dict(zip(NAMES, setting, strict=True)) | {"setting": str(setting)}
            rows.append(row | {name: 0.1 * k + 0.01 * seed**2 for k, name in enumerate(FIGURES)})
            rows[-1]["val/zsl/mAP"] += 0.5 if index == 1 else 0.1 * index
    return pd.DataFrame(rows)


def test_points_are_means_over_seeds() -> None:
    table = trials([(0.0, None), (0.5, None), (0.5, [1])])
    points = points_of(table, NAMES, FIGURES, maximize=True)
    assert points["selected"].tolist() == [True, False, False]
    assert points["setting"].tolist() == ["(0.5, None)", "(0.5, [1])", "(0.0, None)"]
    assert points["n"].tolist() == [3, 3, 3]
    for _, point in points.iterrows():
        own = table[table["setting"] == point["setting"]]
        for figure in FIGURES:
            assert point[f"{figure} mean"] == pytest.approx(statistics.mean(own[figure]))
            assert point[f"{figure} sd"] == pytest.approx(statistics.stdev(own[figure]))
    worst = points_of(table, NAMES, FIGURES, maximize=False)
    assert worst["setting"][0] == "(0.0, None)"
    assert points_of(table[:0], NAMES, FIGURES, maximize=True).empty


def test_figures_that_no_trial_has_are_left_out() -> None:
    """Whatever the metric is: images with one class each have accuracies and no F1."""
    table = pd.DataFrame({"a": [None, 0.5], "b": [None, None]}, dtype=float)
    assert lacking_figures(table, ["a", "b"]) == ["b"]
    # Where none was tested yet, the columns wait for those that are.
    assert lacking_figures(table, ["b"]) == lacking_figures(table[:0], ["a", "b"]) == []


def test_a_panel_shows_what_differs_in_one_parameter() -> None:
    settings = [(0.0, 0.0), (0.5, 0.5), (0.5, 0.0), (1.0, 0.0), (0.0, 0.7)]
    points = points_of(trials(settings), NAMES, FIGURES, maximize=True)
    noise = group_of(points, NAMES, "model.augmentation.noise")
    dropout = group_of(points, NAMES, "model.augmentation.dropout")
    assert noise is not None
    assert dropout is not None
    # The selected point has no neighbour with another noise, so the largest group is shown.
    assert sorted(noise["model.augmentation.noise"]) == [0.0, 0.5, 1.0]
    assert sorted(dropout["model.augmentation.dropout"]) == [0.0, 0.5]
    assert dropout["selected"].any()


def test_the_picture_has_panels_for_each_number() -> None:
    table = trials([(0.0, 0.0), (0.5, 0.0), (0.0, 0.3)])
    points = points_of(table, NAMES, FIGURES, maximize=True)
    figure = strength(points, table, NAMES)
    assert figure is not None
    assert [axes.get_xlabel() for axes in figure.axes[::2]] == NAMES
    assert "unseen" in figure.axes[0].get_ylabel()
    curve = figure.axes[1].lines[0]
    assert curve.get_color() == COLOURS[Role.SEEN]
    seen = points[points["model.augmentation.dropout"] == 0].sort_values("model.augmentation.noise")
    assert np.asarray(curve.get_ydata()).tolist() == seen["test/seen/mAP mean"].tolist()
    assert figure.axes[0].get_title() == "with dropout 0"

    cloud = trials([(0.001, 0.1), (0.5, 0.2), (1.0, 0.3)], seeds=1)
    figure = strength(points_of(cloud, NAMES, FIGURES, maximize=True), cloud, NAMES)
    assert figure is not None
    assert figure.axes[0].get_xscale() == "log"
    assert "all trials" in figure.axes[0].get_title()
    assert np.asarray(figure.axes[0].lines[0].get_xdata()).shape == (3,)

    words = trials([("a", True), ("b", False)])
    assert strength(points_of(words, NAMES, FIGURES, maximize=True), words, NAMES) is None


def test_tables_are_read_as_they_were(in_tmp_path: Path) -> None:
    table = trials([(0.0, None), (0.5, 3), (1.0, True)]).assign(seed=0, folder="here")
    table = table[["setting", *NAMES, "seed", *FIGURES, "folder"]]
    points = points_of(table, NAMES, FIGURES, maximize=True)
    with pytest.raises(InputError, match=r"not the folder of a sweep.*trials.csv"):
        read_tables(".")
    points.to_csv("points.csv", index=False)
    table.drop(columns="setting").to_csv("trials.csv", index=False)
    with pytest.raises(InputError, match=r"'setting' is not in list.; run the command"):
        read_tables(".")
    table.to_csv("trials.csv", index=False)
    found = read_tables(".")
    assert (found.names, found.figures) == (NAMES, FIGURES)
    assert (
        found.trials["model.augmentation.noise"].tolist()
        == table["model.augmentation.noise"].tolist()
    )
    assert None in found.points["model.augmentation.dropout"].tolist()
    pd.testing.assert_frame_equal(found.points.drop(columns=NAMES), points.drop(columns=NAMES))


def test_names_and_values(in_tmp_path: Path) -> None:
    assert flat({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a.b": 1, "a.c.d": 2, "e": 3}
    config = {"data": {"class_path": "x", "init_args": {"root": "here"}}, "seed": 1}
    assert resolved(config, "data.root") == "here"
    assert resolved(config, "data.nothing.at.all") is None
    assert short_names(["a.x", "b.x", "b.y"]) == {"a.x": "a.x", "b.x": "b.x", "b.y": "y"}
    parameters = {
        "model": {"values": [{"augmentation": {"noise": 1.0}}, {"augmentation": {"dropout": 0.5}}]},
        "trainer.max_epochs": {"value": 3},
        "seed_everything": {"values": [0, 1]},
    }
    assert swept_names(read_sweep(write(parameters=parameters))) == NAMES
