"""The formulas of what training costs at scale, against sums by hand and rings that are run."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn


def benchmark(name: str) -> Any:
    folder = str(Path(__file__).parents[1] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        return import_module(name)
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def model() -> Any:
    return benchmark("scale_model")


@pytest.mark.parametrize("devices", [1, 2, 3, 8])
def test_a_ring_sends_what_the_formula_says(model: Any, devices: int) -> None:
    """Each device hands a part to the next one, first to add up, then to copy."""
    parts = np.random.default_rng(0).integers(100, size=(devices, devices))
    total, sent = parts.sum(axis=0), np.zeros(devices)
    for turn in range(2 * (devices - 1)):
        before = parts.copy()
        for device in range(devices):
            part, following = (device - turn) % devices, (device + 1) % devices
            adds = turn < devices - 1
            parts[following, part] = before[device, part] + adds * before[following, part]
            sent[device] += 1 / devices
    assert (parts == total).all()
    np.testing.assert_allclose(sent, model.all_reduce_bytes(1, devices))


def test_a_step_takes_as_long_as_its_slowest_part(model: Any) -> None:
    recipe = model.RECIPES["COCO"]._replace(batch=10)
    terms = {
        "parameters": 1e6,
        "buffer bytes": 1e6,
        "bytes an image": 1e5,
        "s to decode": 0.008,
        "training FLOP": 1e9,
    }
    machine = model.Machine(tflops=1, loaders=4, disk=1e8, link=1e9, network=1e7)
    one, many = (model.step(recipe, terms, machine, devices) for devices in (1, 16))
    assert one.seconds == pytest.approx(
        {"decode": 0.02, "device": 0.01, "disk": 0.01, "network": 0}
    )
    assert (one.bottleneck, one.speed) == ("decode", pytest.approx(500))
    # 2 · 15/16 · 4 MB of gradients and 1 MB of buffers at 10 MB/s; eight devices read on a machine.
    assert many.seconds == pytest.approx(
        {"decode": 0.02, "device": 0.01, "disk": 0.08, "network": 0.85}
    )
    assert (many.bottleneck, many.speed) == ("network", pytest.approx(160 / 0.85))


@pytest.mark.parametrize("mixed", [False, True])
def test_operations_and_bytes_are_those_of_a_linear_layer(mixed: bool) -> None:
    network = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    counted = benchmark("scale_terms").per_image(network, mixed, (5,))
    # The gradient of the input is not asked for.
    assert counted.forward == 2 * (5 * 7 + 7 * 3)
    assert counted.backward == 2 * (5 * 7 + 7 * 3 + 7 * 3)
    kept = 4 * (5 + 7) if not mixed else 2 * (5 + 7)
    assert counted.kept == kept
    assert torch.is_grad_enabled()
