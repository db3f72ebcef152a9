"""`--devices N --nodes N`: the processes of a command that share its work."""

from __future__ import annotations

import logging
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from zsl.commands.exit_codes import loading
from zsl.errors import InputError, require
from zsl.files.processes import die_with_parent
from zsl.process_group import ALONE, ProcessGroup

if TYPE_CHECKING:
    from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment

_LONGEST_TURN = timedelta(days=1)
"""A process waits for another so long: the first also computes figures in between."""


@dataclass(frozen=True)
class _Count:
    """Reads a number above 0, or another word; the help shows what it is printed as."""

    word: str | None = None

    def __call__(self, value: int | str) -> int | str:
        if value == self.word:
            return value
        if not str(value).isdecimal() or int(value) < 1:
            raise ArgumentTypeError(f"{value!r} is not a {self}")
        return int(value)

    def __repr__(self) -> str:
        return "number above 0" + (f" or {self.word}" if self.word else "")


def add_devices(parser: ArgumentParser) -> None:
    """Adds the arguments that `launch` takes."""
    parser.add_argument(
        "--devices",
        type=_Count("auto"),
        help="GPUs of this machine that share the work, a process each, or processes without a "
        "GPU; auto takes all GPUs (default: 1; under torchrun and srun as many as they start).",
    )
    parser.add_argument(
        "--nodes",
        type=_Count(),
        help="Machines that share the work: the same command is started on each, by torchrun, by "
        "srun, or with MASTER_ADDR, MASTER_PORT and NODE_RANK set (default: 1, or theirs).",
    )
    parser.add_argument(
        "--accelerator",
        choices=("auto", "gpu", "cpu"),
        default="auto",
        help="auto takes GPUs if there are any.",
    )


def launch(options: Any) -> ProcessGroup:
    """Starts the other processes of this machine, which run the same command; joins them.

    Args:
        options: What was parsed of `add_devices`.

    Raises:
        InputError: There are not as many devices, torchrun or srun started another number of
            processes, or nothing tells the machines of each other.
    """
    devices, nodes, started = options.devices, options.nodes, None
    if "LOCAL_WORLD_SIZE" in os.environ:  # torchrun
        started = int(os.environ["WORLD_SIZE"])
        devices = devices or int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = nodes or int(os.environ.get("GROUP_WORLD_SIZE", 1))
    elif (tasks := _srun_tasks()) > 1:
        started = tasks
        nodes = nodes or int(os.environ["SLURM_STEP_NUM_NODES"])
        devices = devices or tasks // nodes
    devices, nodes = devices or 1, nodes or 1
    require(
        started is None or devices == "auto" or devices * nodes == started,
        f"The launcher started {started} processes, but --devices × --nodes is {devices} × "
        f"{nodes}; leave both out.",
    )
    if (devices, nodes) == (1, 1):
        return ProcessGroup(device="cpu") if options.accelerator == "cpu" else ALONE
    return _join(options.accelerator, devices, nodes)


def _srun_tasks() -> int:
    """How many processes srun started; it alone sets this."""
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))


def _environment(nodes: int) -> ClusterEnvironment:
    """Who starts the processes: torchrun, srun, or the first one on each machine."""
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if _srun_tasks() > 1:  # A single one starts the others itself, as without srun.
        return SLURMEnvironment()
    lacking = [
        name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if name not in os.environ
    ]
    require(
        nodes == 1 or not lacking,
        f"--nodes is {nodes}, but nothing tells the machines of each other: start the command by "
        f"torchrun or srun, or set {', '.join(lacking)}.",
    )
    return LightningEnvironment()


def _join(accelerator: str, devices: int | str, nodes: int) -> ProcessGroup:
    with loading():
        from lightning_fabric import Fabric
        from lightning_fabric.strategies.ddp import DDPStrategy
        from lightning_fabric.utilities.exceptions import MisconfigurationException
        from torch import distributed

    if "LOCAL_RANK" in os.environ:  # It would wait for the first.
        die_with_parent()
    if nodes == 1:  # Of several machines it tells that one is waited for.
        logging.getLogger("lightning_fabric.utilities").setLevel(logging.WARNING)
    try:
        # What is sent are results, from memory: GPUs need no connection of their own.
        strategy = DDPStrategy(
            process_group_backend="gloo", cluster_environment=_environment(nodes)
        )
        fabric = Fabric(
            accelerator=accelerator, strategy=strategy, devices=devices, num_nodes=nodes
        )
        fabric.launch()
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        wanted = f"--devices {devices} --nodes {nodes} --accelerator {accelerator}"
        raise InputError(f"{wanted} can't be had: {reason}") from error
    if not fabric.is_global_zero:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        logging.getLogger("zsl").setLevel(logging.ERROR)
    group = distributed.new_group(timeout=_LONGEST_TURN)
    return ProcessGroup(fabric.global_rank, fabric.world_size, str(fabric.device), group)
