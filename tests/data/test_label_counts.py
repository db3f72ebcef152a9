from typing import Any

import numpy as np
import pytest
import torch

from zsl.data import label_counts


class Targets(list[torch.Tensor]):
    """A data set of targets; there are no images to read."""

    def target(self, index: int) -> torch.Tensor:
        return self[index]


def test_known_targets_of_the_rows_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = torch.randint(-1, 2, (2500, 7), generator=torch.Generator().manual_seed(0))
    dataset: Any = Targets(targets.to(torch.int8))
    rows = np.arange(0, 2500, 2)
    present, known = label_counts.count_labels(dataset, rows, slice(2, 5))
    own = targets[::2, 2:5]
    assert present.tolist() == (own == 1).sum(dim=0).tolist()
    assert known.tolist() == (own >= 0).sum(dim=0).tolist()
    one, _ = label_counts.count_labels(dataset, rows[:1], slice(2, 5))
    assert one.tolist() == (targets[0, 2:5] == 1).tolist()

    monkeypatch.setattr(label_counts, "_MOST_COUNTED", 100)
    all_known: Any = Targets(torch.ones(2500, 3, dtype=torch.int8))
    _, known = label_counts.count_labels(all_known, rows, slice(0, 3))
    assert known.tolist() == [100] * 3
