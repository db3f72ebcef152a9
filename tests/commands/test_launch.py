from argparse import ArgumentParser
from typing import Any

import pytest

from zsl.commands import launch
from zsl.errors import InputError

TORCHRUN = {"LOCAL_WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "2", "WORLD_SIZE": "4"}
SRUN = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2"}


def joined(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], *args: str) -> Any:
    """What would be joined: accelerator, devices and nodes."""
    for name in (*TORCHRUN, *SRUN):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(launch, "_join", lambda *found: found)
    parser = ArgumentParser(exit_on_error=False)
    launch.add_devices(parser)
    return launch.launch(parser.parse_args(args))


@pytest.mark.parametrize("environment", [TORCHRUN, SRUN])
def test_launchers_tell_how_many_processes_there_are(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert joined(monkeypatch, environment) == ("auto", 2, 2)
    assert joined(monkeypatch, environment, "--devices=4", "--nodes=1") == ("auto", 4, 1)
    with pytest.raises(InputError, match="started 4 processes, but --devices × --nodes is 1 × 1"):
        joined(monkeypatch, environment, "--devices=1", "--nodes=1")


def test_without_a_launcher_one_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert joined(monkeypatch, {}).size == 1
    one_task = {"SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_NUM_NODES": "1"}
    assert joined(monkeypatch, one_task, "--devices=2") == ("auto", 2, 1)
    assert joined(monkeypatch, {}, "--devices=auto", "--accelerator=gpu") == ("gpu", "auto", 1)


def test_several_machines_without_a_launcher_are_told_of_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (*TORCHRUN, *SRUN, "MASTER_ADDR", "MASTER_PORT", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="or set MASTER_ADDR, MASTER_PORT, NODE_RANK"):
        launch._environment(2)
    monkeypatch.setenv("MASTER_ADDR", "HOST")
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setenv("NODE_RANK", "1")
    found = launch._environment(2)
    assert (found.main_address, found.main_port, found.node_rank()) == ("HOST", 29500, 1)
