"""Runs the trials of a study, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

import optuna
from optuna.trial import TrialState
from tqdm import tqdm

from zsl.errors import InputError, require
from zsl.sweeps.spec import Sweep
from zsl.sweeps.study import Study
from zsl.sweeps.trial import PRELOADED, Checked, Job, Outcome, check, run_trial


@dataclass
class _Running:
    """A trial at work."""

    trial: optuna.Trial
    process: ForkServerProcess
    connection: Connection
    num_reports: int = 0


class Runner:
    """Runs trials side by side; one that is killed or crashes leaves the others alone.

    Args:
        study: Where the trials come from.
        num_processes: Trials at the same time.
        num_gpus: GPUs to spread them over.
        wandb: Whether they log to W&B, offline.
    """

    def __init__(self, study: Study, num_processes: int, num_gpus: int, wandb: bool) -> None:
        self.study = study
        self.num_threads = max(1, (os.cpu_count() or 1) // num_processes)
        self.slots: list[_Running | None] = [None] * num_processes
        self.gpus = _visible_gpus(num_gpus)
        self.environment = {"OMP_NUM_THREADS": str(self.num_threads)}
        if wandb:
            self.environment |= {"WANDB_MODE": "offline", "WANDB_RUN_GROUP": study.sweep.name}
        self.failures: list[str] = []

    def run(self) -> list[str]:
        """Runs what there is to run; returns a line for each trial that failed.

        Raises:
            InputError: A trial was given input that can't be used, as others would be too.
        """
        with self._progress() as bar, _ended_by_sigterm():
            try:
                while self._start() or any(self.slots):
                    self._receive()
                    self._show(bar)
            finally:
                self._end_all()
        return self.failures

    @contextmanager
    def _progress(self) -> Iterator[Any]:
        finished = self.study.num_finished()
        with tqdm(total=self.study.num_wanted(), initial=finished, unit="trial") as bar:
            self._show(bar)
            yield bar

    def _show(self, bar: Any) -> None:
        sweep = self.study.sweep
        trials = [trial for trial in self.study.trials() if trial.state == TrialState.COMPLETE]
        scores = [trial.value for trial in trials if trial.value is not None]
        if scores:
            best = max(scores) if sweep.maximize else min(scores)
            bar.set_postfix_str(f"best {sweep.metric} {best:.3f}", refresh=False)
        bar.update(self.study.num_finished() - bar.n)

    def _start(self) -> bool:
        """Fills the free slots; returns whether a trial was started."""
        started = False
        for slot, running in enumerate(self.slots):
            if running is None and (trial := self.study.next_trial()):
                self.slots[slot] = self._launch(trial, slot)
                started = True
        return started

    def _launch(self, trial: optuna.Trial, slot: int) -> _Running:
        sweep = self.study.sweep
        gpu = {"CUDA_VISIBLE_DEVICES": self.gpus[slot % len(self.gpus)]} if self.gpus else {}
        job = Job(
            args=sweep.fit_args(trial.user_attrs["values"]),
            folder=sweep.folder / f"trial_{trial.number}",
            metric=sweep.metric,
            num_threads=self.num_threads,
            environment=self.environment | gpu,
        )
        process, connection = _start_process(run_trial, job)
        return _Running(trial, process, connection)

    def _receive(self) -> None:
        """Waits for news of a trial, and takes what there is."""
        running = [one for one in self.slots if one]
        # Not the connection alone: a worker of a killed trial may hold its other end open.
        wait([end for one in running for end in (one.connection, one.process.sentinel)])
        for slot, one in enumerate(self.slots):
            if one and (outcome := _outcome(one)):
                one.process.join()
                self.slots[slot] = None
                self.study.tell(one.trial, outcome)
                self._judge(one, outcome)

    def _judge(self, one: _Running, outcome: Outcome) -> None:
        sweep, number = self.study.sweep, one.trial.number
        log = sweep.folder / f"trial_{number}" / "log.txt"
        if outcome.state == "refused":
            raise InputError(f"Trial {number} was refused: {outcome.message} Its log is {log}.")
        if outcome.state == "failed":
            self.failures.append(f"trial {number}: {outcome.message} ({log})")

    def _end_all(self) -> None:
        """Ends the trials that still run; they are run again when the sweep is."""
        running = [one for one in self.slots if one]
        for one in running:
            one.process.terminate()
        for one in running:
            one.process.join(timeout=5)
            one.process.kill()
            self.study.tell(one.trial, Outcome("failed", message="stopped with the sweep"))


def check_arguments(sweep: Sweep, num_processes: int) -> int:
    """Parses each value of each parameter as `zsl.fit` would; returns the number of GPUs.

    Raises:
        InputError: A parameter is unknown, or a value is of another type.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // num_processes)))
    process, connection = _start_process(
        check, [sweep.fit_args(values) for values in sweep.examples()]
    )
    try:
        found: Checked = connection.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"The check ended with exit code {process.exitcode}.") from None
    except BaseException:
        process.kill()
        raise
    process.join()
    require(not found.message, f"{found.message} It is in {sweep.file} or on the command line.")
    return found.num_gpus


def _start_process(target: Any, argument: Any) -> tuple[ForkServerProcess, Connection]:
    """Starts `target(argument, connection)`, with the heavy imports done."""
    context: ForkServerContext = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(argument, theirs))
    process.start()
    theirs.close()
    return process, ours


def _outcome(one: _Running) -> Outcome | None:
    """Answers the reports of a trial; returns how it ended, where it has."""
    try:
        while one.connection.poll():
            message = one.connection.recv()
            if isinstance(message, Outcome):
                return message
            one.num_reports += 1
            one.trial.report(message, one.num_reports)
            one.connection.send(one.trial.should_prune())
    except (EOFError, ConnectionError):
        one.process.join()
    if one.process.exitcode is None:
        return None
    code = one.process.exitcode
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return Outcome("failed", message=f"its process {how}")


def _visible_gpus(num_gpus: int) -> list[str]:
    """Names of the GPUs that trials are spread over, as CUDA_VISIBLE_DEVICES takes them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:num_gpus] if named and num_gpus else list(map(str, range(num_gpus)))


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Lets what stops a job on a cluster end the trials, too."""
    earlier = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)
