"""The compiled training step. The graphs are captured in full, but run by PyTorch as it is."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch._dynamo.utils import counters

from tests.tasks.test_zero_shot import NO_CHECKPOINTS, make_data, make_task, make_trainer
from zsl.labels import QueryAugmentationConfig
from zsl.tasks import OptimizationConfig


@pytest.fixture
def graphs_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No C++ compiler, which would take a minute."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


class Losses(pl.Callback):
    def __init__(self) -> None:
        self.found: list[float] = []

    def on_train_batch_end(self, *arguments: Any) -> None:
        self.found.append(arguments[2]["loss"].item())


def trained(folder: Path, compiles: bool) -> tuple[list[float], list[str]]:
    """Losses and tensor names of a run in which each step queries another number of labels."""
    data, losses = make_data(), Losses()
    task = make_task(
        data,
        augmentation=QueryAugmentationConfig(dropout=0.5, random=2, ramp=1.0),
        optimization=OptimizationConfig(learning_rate=1e-2, ema_decay=0.9),
    )
    task.compiles = compiles
    trainer = make_trainer(folder, **(NO_CHECKPOINTS | {"callbacks": [losses]}))
    trainer.fit(task, data)
    return losses.found, list(trainer._checkpoint_connector.dump_checkpoint()["state_dict"])


@pytest.mark.usefixtures("graphs_alone")
def test_a_compiled_step_changes_neither_loss_nor_names_and_serves_any_number_of_labels(
    tmp_path: Path,
) -> None:
    expected = trained(tmp_path, compiles=False)
    found = trained(tmp_path, compiles=True)
    assert len(found[0]) == 8
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found[1] == expected[1]
    # The trial, the tokens, and the loss for the first number of labels and for any other; a graph
    # of the validation would be one more.
    assert counters["stats"]["unique_graphs"] == 4
    assert not counters["graph_break"]
