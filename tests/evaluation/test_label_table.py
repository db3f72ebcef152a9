import math

import pandas as pd
import pytest

from zsl.evaluation.label_table import best_and_worst


@pytest.mark.parametrize(
    ("ap", "rows"),
    [
        ([0.1, 0.9, 0.5, 0.3, 0.7], [1, 4, 3, 0]),
        ([0.1, math.nan, 0.5, 0.3, 0.7, 0.9], [5, 4, 3, 0]),
        ([0.1, math.nan, 0.5, 0.3], [2, 3, 0, 1]),
        ([0.1, math.nan, 0.5, math.nan, 0.3], [2, 4, 0]),
        ([0.5, 0.5], [0, 1]),
        ([math.nan], [0]),
        ([], []),
    ],
)
def test_of_many_labels_those_with_a_positive_are_the_best_and_worst(
    ap: list[float], rows: list[int]
) -> None:
    labels = pd.DataFrame({"AP": pd.Series(ap, dtype=float)})
    assert best_and_worst(labels, "AP", 4).index.tolist() == rows
