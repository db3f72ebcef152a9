"""Runs `zsl.fit` in several processes, as torchrun starts them, but which import all once."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytorch_lightning as pl


class Signal(pl.Callback):
    """Sends one of the processes a signal before a batch, counted over all epochs."""

    def __init__(self, number: int, batch: int, rank: int) -> None:
        self.number, self.batch, self.rank = number, batch, rank

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        done = trainer.fit_loop.epoch_loop.batch_progress.total.state_dict()["processed"]
        if (done, trainer.global_rank) == (self.batch, self.rank):
            os.kill(os.getpid(), self.number)


def fit_in_processes(number: int, *runs: list[str]) -> list[list[int]]:
    """Runs `zsl.fit` with each of the arguments; returns the exit codes of the processes."""
    command = [sys.executable, "-m", __name__, str(number), json.dumps(runs)]
    result = subprocess.run(command, check=True, timeout=600, stdout=subprocess.PIPE, text=True)
    codes: list[list[int]] = json.loads(result.stdout.splitlines()[-1])
    return codes


def _fit(number: int, arguments: list[str]) -> list[int]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    children = []
    for rank in range(number):
        child = os.fork()
        if child == 0:
            ranks = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": number}
            meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "0"}
            os.environ.update({name: str(value) for name, value in (ranks | meeting).items()})
            code: Any = 1
            try:
                code = fit(arguments)
            except SystemExit as error:
                code = error.code
            finally:
                os._exit(code)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


if __name__ == "__main__":
    import_module("zsl.commands.fit_cli")  # Which is else imported late, by each process.
    from zsl.commands.fit import main as fit

    print(json.dumps([_fit(int(sys.argv[1]), arguments) for arguments in json.loads(sys.argv[2])]))
