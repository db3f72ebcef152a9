from typing import Any

import pytest
import torch
from torch import nn

from zsl.errors import InputError
from zsl.tasks.optimization import OptimizationConfig, schedule_steps


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.norm = nn.LayerNorm(2)
        self.register_buffer("constant", torch.rand(4))


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_weight_decay_is_off_for_one_dimensional_parameters(name: Any) -> None:
    config = OptimizationConfig(name, learning_rate=0.1, weight_decay=0.3)
    optimizer = config.configure(Model().parameters(), 10)["optimizer"]
    decayed, plain = optimizer.param_groups
    assert type(optimizer).__name__.lower() == name
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.3, 0)
    assert [p.ndim for p in decayed["params"]] == [2]
    assert [p.ndim for p in plain["params"]] == [1, 1, 1]


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 100])
def test_the_schedule_rises_and_falls_whatever_its_length(steps: int) -> None:
    length = schedule_steps(steps, None)
    made: Any = OptimizationConfig(learning_rate=0.1, warmup=0.2).configure(
        Model().parameters(), length
    )
    rates = []
    for _ in range(length):
        rates.append(made["optimizer"].param_groups[0]["lr"])
        made["optimizer"].step()
        if len(rates) < length:
            made["lr_scheduler"]["scheduler"].step()
    assert length == max(10, steps)
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert max(rates) == pytest.approx(0.1)
    assert peak == max(1, round(0.2 * length) - 1)


def test_a_resumed_schedule_must_be_as_long() -> None:
    assert schedule_steps(40, 40) == 40
    with pytest.raises(InputError, match=r"schedule has 50 steps, this run's has 40; resume with"):
        schedule_steps(40, 50)


@pytest.mark.parametrize("warmup", [True, False])
def test_the_moving_average_may_start_short_and_keeps_constants_exact(warmup: bool) -> None:
    callback: Any
    (callback,) = OptimizationConfig(ema_decay=0.9, ema_warmup=warmup).callbacks()
    model: Any = Model()
    averaged: Any = torch.optim.swa_utils.AveragedModel(model, **callback._kwargs, use_buffers=True)
    expected = None
    for count in range(5):
        with torch.no_grad():
            model.linear.weight.copy_(torch.randn(2, 3))
        weight = model.linear.weight.detach().clone()
        decay = min(0.9, (1 + count) / (10 + count)) if warmup else 0.9
        expected = weight if expected is None else decay * expected + (1 - decay) * weight
        averaged.update_parameters(model)
        torch.testing.assert_close(averaged.module.linear.weight.detach(), expected)
    assert torch.equal(averaged.module.constant, model.constant)
    assert OptimizationConfig().callbacks() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.0}, "optimization.learning_rate is 0.0; expected above 0"),
        ({"weight_decay": -1.0}, "optimization.weight_decay is -1.0; expected 0 or more"),
        ({"warmup": 1.0}, "optimization.warmup is 1.0; expected 0 to below 1"),
        ({"ema_decay": 1.0}, "optimization.ema_decay is 1.0; expected between 0 and 1"),
    ],
)
def test_numbers_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        OptimizationConfig(**changes)
