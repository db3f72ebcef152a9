from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from tests.evaluation.fakes import make_scored
from zsl.evaluation import charts
from zsl.evaluation.assessment import Assessment
from zsl.evaluation.report import write_results
from zsl.metrics import evaluate


def make_labels(roles: list[str]) -> pd.DataFrame:
    count = len(roles)
    names = [f"label {number}" for number in range(count)]
    ap = [number / count for number in range(count)]
    return pd.DataFrame({"label": names, "role": roles, "AP": ap, "chance": [0.1] * count})


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def points(line: Line2D) -> list[list[float]]:
    return [[float(x), float(y)] for x, y in np.asarray(line.get_xydata())]


def test_best_guesses_are_three_of_all_and_two_more_unseen() -> None:
    labels = make_labels(["seen"] * 4 + ["unseen"] * 4)
    scores = torch.tensor([[9.0, 8.0, 1.0, 2.0, 7.0, 3.0, 4.0, 5.0]])
    targets = torch.zeros(1, 8, dtype=torch.int8)
    targets[0, 6] = 1
    figure = charts.predictions(labels, scores, targets, lambda row: Image.new("RGB", (8, 8)))
    assert texts(figure) == ["label 0", "label 1", "label 4", "label 7", "label 6 ✓"]


def test_many_labels_show_the_best_and_the_worst() -> None:
    labels = make_labels(["seen"] * 100 + ["held_out"] * 4 + ["unseen"] * 2)
    unseen_axes, seen_axes = charts.per_class_ap(labels).axes
    assert len(unseen_axes.get_yticklabels()) == 2
    shown = [text.get_text() for text in seen_axes.get_yticklabels()]
    assert len(shown) == charts.MAX_BARS
    assert shown[0] == "label 0"
    assert shown[-1] == "label 103"
    assert "100 seen labels, mAP 0.467" in seen_axes.get_title()
    assert "the 24 best and the 24 worst" in seen_axes.get_title()


def test_a_chart_has_no_panel_without_a_label() -> None:
    (axes,) = charts.per_class_ap(make_labels(["seen"] * 3)).axes
    assert axes.get_title().startswith("3 labels, mAP 0.333")


def test_curves_show_the_pass_that_was_selected() -> None:
    nan = float("nan")
    metrics = pd.DataFrame(
        {
            "step": [4, 9, 9, 14, 19, 19, 29],
            "epoch": [0, 0, 0, 1, 1, 1, 2],
            "train/loss": [9.0, 8.0, nan, 7.0, 6.0, nan, nan],
            "val/mAP": [nan, nan, 0.3, nan, nan, 0.5, 0.4],
        }
    )
    top, bottom = charts.curves(metrics, "val/mAP", 0.5).axes
    assert top.get_title() == "val/mAP 0.500 after pass 2 of 3: the checkpoint"
    curve, ring = top.get_lines()
    assert points(curve) == [[1, 0.3], [2, 0.5], [3, 0.4]]
    assert points(ring) == [[2, 0.5]]
    (loss,) = bottom.get_lines()
    assert points(loss) == [[0.5, 9], [1, 8], [1.5, 7], [2, 6]]
    # A resumed run selected a checkpoint of an earlier one; a short one logged no loss.
    top, bottom = charts.curves(metrics.drop(columns="train/loss"), "val/mAP", 0.7).axes
    assert (top.get_title(), bottom.get_lines()) == ("val/mAP 0.700", [])
    assert points(top.get_lines()[1]) == []


@pytest.mark.draws
def test_odd_label_names_are_drawn(tmp_path: Path) -> None:
    names = [r"a$\foo$ b", "<b>&", "w" * 60, "x_{2}"]
    scored = make_scored(["seen", "held_out", "unseen", "unseen"], 2, labels=names)
    evaluation = evaluate(scored.scores, scored.targets, scored.groups)
    write_results(tmp_path, Assessment(scored, [evaluation]))
    for name in ("per_class_ap", "predictions"):
        with Image.open(tmp_path / "report" / f"{name}.png") as image:
            assert min(image.size) > 150
