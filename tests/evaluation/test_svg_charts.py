import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from zsl.evaluation.svg_charts import ap_by_cosine, ap_by_rank, as_svg, chance_corrected


def make_labels(count: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "label": [f"$label {number}" for number in range(count)],
            "role": ["held_out" if number % 4 == 0 else "unseen" for number in range(count)],
            "AP": random.random(count),
            "chance": [0.1] * count,
            "positives": range(1, count + 1),
            "cosine": random.random(count),
        }
    )


def test_chance_is_0_and_perfect_1() -> None:
    labels = pd.DataFrame({"AP": [0.2, 1, 0.6, np.nan, 1], "chance": [0.2, 0.2, 0.2, 0, 1]})
    expected = [0, 1, 0.5, np.nan, np.nan]
    np.testing.assert_allclose(chance_corrected(labels), expected)


def test_names_do_not_overlap() -> None:
    figure = ap_by_cosine(make_labels(60))
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.axes[0].texts]
    assert 10 < len(boxes) < 60
    for number, box in enumerate(boxes):
        assert box.count_overlaps(boxes[number + 1 :]) == 0


def test_a_label_without_a_positive_has_no_dot() -> None:
    labels = make_labels(5)
    labels.loc[2, "AP"] = np.nan
    texts = [text.get_text() for text in ap_by_cosine(labels).axes[0].texts]
    assert len(texts) == 4
    assert "$label 2" not in texts


@pytest.mark.parametrize("chart", [ap_by_cosine, ap_by_rank])
def test_svg_is_the_same_each_time_and_keeps_its_text(
    chart: Callable[[pd.DataFrame], Figure],
) -> None:
    labels = make_labels(6).assign(label=["<b>&", "😀", "猫", "a" * 200, "$x$", "e"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = as_svg(lambda: chart(labels))
    assert svg == as_svg(lambda: chart(labels))
    assert "held-out" in svg.decode()
    if chart is ap_by_cosine:
        assert all(name in svg.decode() for name in ("&lt;b&gt;&amp;", "😀", "猫", "$x$", "aaaa…"))
