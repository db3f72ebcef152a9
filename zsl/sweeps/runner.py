"""Runs the trials of a study, each a `python -m zsl.fit` of its own."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import optuna
import yaml
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState
from tqdm import tqdm

from zsl.errors import InputError, did_you_mean, require
from zsl.files.processes import die_with_parent
from zsl.sweeps import liveness
from zsl.sweeps.spec import Sweep
from zsl.sweeps.study import DONE, STOPPED, Study

FIT = [sys.executable, "-m", "zsl.fit"]
POLL_SECONDS = 1.0
WAIT_SECONDS = 5.0
"""Between two looks at what other machines run, of which each reads all trials."""


class Runner:
    """Runs trials side by side; one that is killed or crashes leaves the others alone.

    Args:
        study: Where the trials come from.
        num_processes: Trials at the same time.
        gpus: GPUs to spread them over, as CUDA_VISIBLE_DEVICES takes them.
        wandb: Whether they log to W&B, offline.
    """

    def __init__(
        self, study: Study, num_processes: int, gpus: list[str], wandb: bool = False
    ) -> None:
        self.study = study
        self.num_processes = num_processes
        self.gpus = gpus
        self.environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // num_processes))}
        if wandb:
            self.environment |= {"WANDB_MODE": "offline", "WANDB_RUN_GROUP": study.sweep.name}
        self.failures: list[str] = []
        self._waits_for: set[str] = set()

    def run(self) -> list[str]:
        """Runs what there is to run; returns a line for each trial that failed.

        Raises:
            InputError: A trial was given input that can't be used, as others would be too.
        """
        # Whatever stops a job on a cluster should end the trials, too.
        earlier = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        with (
            tqdm(total=len(self.study.points), unit="trial") as bar,
            ThreadPoolExecutor(self.num_processes) as pool,
        ):
            try:
                workers = [pool.submit(self._work, slot, bar) for slot in range(self.num_processes)]
                for worker in as_completed(workers):
                    worker.result()
            except BaseException:
                self.study.stopped.set()
                raise
            finally:
                signal.signal(signal.SIGTERM, earlier)
        return self.failures

    def _work(self, slot: int, bar: tqdm[Any]) -> None:
        """Runs one trial after another."""
        gpu = {"CUDA_VISIBLE_DEVICES": self.gpus[slot % len(self.gpus)]} if self.gpus else {}
        while not self.study.stopped.is_set():
            trial = self.study.patiently(lambda: self._take(bar))
            if trial is not None:
                self._run_trial(trial, self.environment | gpu, bar)
            elif self.study.patiently(self.study.is_over):
                break
            else:  # Another machine may die.
                self.study.stopped.wait(WAIT_SECONDS)

    def _take(self, bar: tqdm[Any]) -> optuna.Trial | None:
        with self.study.lock:
            self._show(bar)
            trial = self.study.next_trial()
            others = {str(one.user_attrs.get("host", "a machine")) for one in self.study.others()}
            if trial is None and others and others != self._waits_for:
                text = f"Waiting for trials on {', '.join(sorted(others))}."
                tqdm.write(text, file=sys.stderr)
                self._waits_for = others
        return trial

    def _show(self, bar: tqdm[Any]) -> None:
        sweep, trials = self.study.sweep, self.study.trials(*DONE)
        scores = [trial.values[0] for trial in trials if trial.state == TrialState.COMPLETE]
        if scores:
            text = f"best {sweep.metric} {sweep.best(scores):.3f}"
            bar.set_postfix_str(text, refresh=False)
        bar.update(len(trials) - bar.n)

    def _run_trial(self, trial: optuna.Trial, environment: dict[str, str], bar: tqdm[Any]) -> None:
        """Runs a trial, reports its validations, and keeps how it ended."""
        sweep, is_pruned, has_ended, code = self.study.sweep, False, False, None
        scores: list[float] = []
        folder = sweep.folder / f"trial_{trial.number}"
        state, value, message = TrialState.FAIL, None, STOPPED
        is_kept, next_beat = True, monotonic()
        process = _start_fit(sweep.fit_args(trial.user_attrs["values"]), folder, environment)
        try:
            while not has_ended:
                has_ended = process.poll() is not None or self.study.stopped.wait(POLL_SECONDS)
                if sys.stderr.isatty():  # Its clock goes on; a log would grow.
                    bar.refresh()
                if monotonic() >= next_beat:
                    self.study.patiently(lambda: liveness.beat(trial))
                    next_beat = monotonic() + liveness.BEAT_SECONDS
                for score in read_scores(folder, sweep.metric)[len(scores) :]:
                    scores.append(score)
                    should_prune = self.study.patiently(partial(_report, trial, scores))
                    if should_prune and not is_pruned:
                        is_pruned = True
                        process.terminate()
            code = process.poll()
            if code == 0 and scores and (folder / "results.json").is_file():
                state, value, message = TrialState.COMPLETE, sweep.best(scores), ""
            elif is_pruned:
                state, message = TrialState.PRUNED, ""
            elif code is not None:
                message = error_of(folder, code)
        except UpdateFinishedTrialError:
            is_kept = False
        finally:
            _end(process)
            attributes = {"message": message, **read_run(folder)}
            is_kept &= self.study.patiently(
                lambda: self.study.finish(trial, state, value, attributes)
            )
        if not is_kept:
            text = f"trial {trial.number}: given up by another machine, as nothing was heard of it"
            tqdm.write(f"{text}; it is run again ({folder}).", file=sys.stderr)
        elif code is not None and state == TrialState.FAIL:
            number, log = trial.number, folder / "log.txt"
            is_refused = code in (0, 2)
            require(not is_refused, f"Trial {number} was refused: {message} Its log is {log}.")
            self.failures.append(f"trial {number}: {message} ({log})")


def _report(trial: optuna.Trial, scores: list[float]) -> bool:
    """Reports the last of the scores; whether the trial should be pruned for it."""
    trial.report(scores[-1], len(scores))
    return trial.should_prune()


def _start_fit(
    args: list[str], folder: Path, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    # A trial has a service of W&B of its own.
    inherited = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [*FIT, *args, f"--run_folder={folder}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=inherited | environment,
            process_group=0,  # Ctrl-C reaches all processes of a group.
            preexec_fn=die_with_parent,
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)
    process.kill()
    process.wait()


def read_scores(folder: Path, metric: str) -> list[float]:
    """Reads the metric of each validation so far; a run may be writing its `metrics.csv`.

    Raises:
        InputError: Its validation doesn't log the metric.
    """
    path = folder / "metrics.csv"
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    rows = list(csv.DictReader(line for line in lines if line.endswith("\n")))
    logged = [name for name in (rows[0] if rows else ()) if name.startswith("val/")]
    likely = ", ".join(name for name in logged if name.endswith("mAP"))
    require(
        not logged or metric in logged,
        f"The run logs no {metric} in validation; expected one like {likely} (what the data has "
        f"too few labels for is left out).{did_you_mean(metric, logged)}",
    )
    scores = [float(row[metric]) for row in rows if row.get(metric)]
    return [score for score in scores if not math.isnan(score)]


def read_run(folder: Path) -> dict[str, Any]:
    """Reads `config` and `results`, the test's figures by name, where a run has written them."""
    config, results = folder / "config.yaml", folder / "results.json"
    return {
        "config": yaml.safe_load(config.read_text()) if config.is_file() else {},
        "results": json.loads(results.read_text())["metrics"] if results.is_file() else {},
    }


def error_of(folder: Path, exit_code: int) -> str:
    """The error that a run ended with: its own sentence, or the last line of a traceback."""
    log = (folder / "log.txt").read_text(errors="replace")
    errors = re.findall(r"^(?:error: |Traceback .*\n(?: .*\n)*)(\S.*)", log, re.MULTILINE)
    if exit_code == 0:
        return "Nothing was validated and tested, so there is nothing to compare."
    if exit_code < 0:
        return f"its process was killed by signal {-exit_code}"
    return errors[-1] if errors else f"its process ended with exit code {exit_code}"


def check_arguments(sweep: Sweep) -> None:
    """Parses each value of each parameter as `zsl.fit` would.

    Raises:
        InputError: A parameter is unknown, a value is of another type, a trial would take more
            than one device, or no validation logs the metric.
    """
    # They take seconds to import.
    from zsl.commands.fit_parser import named_task, parse_config

    for values in sweep.examples():
        try:
            args = sweep.fit_args(values)
            config = parse_config(args)
        except InputError as error:
            raise InputError(f"{error} It is in {sweep.file} or on the command line.") from error
        trainer, logged = config["trainer"], named_task(args).all_logged_names(config["model"])
        require(
            sweep.metric in logged or _has_own_callbacks(trainer),  # They may log more.
            f"{sweep.file}: metric names {sweep.metric!r}, which no validation logs."
            + did_you_mean(sweep.metric, [name for name in logged if name.startswith("val/")]),
        )
        devices, num_nodes = trainer["devices"], trainer["num_nodes"]
        require(
            str(devices) in ("auto", "1", "[0]") and num_nodes == 1,
            f"trainer.devices is {devices} and trainer.num_nodes {num_nodes}; a trial runs on one "
            "device, so leave them out and use --processes.",
        )


def _has_own_callbacks(trainer: Any) -> bool:
    callbacks = trainer["callbacks"] or []
    callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
    known = ("pytorch_lightning.", "zsl.")
    return not all(callback["class_path"].startswith(known) for callback in callbacks)


def visible_gpus() -> list[str]:
    """Names of the GPUs that trials are spread over, as CUDA_VISIBLE_DEVICES takes them."""
    import torch  # It takes seconds to import.

    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    number = torch.cuda.device_count()
    return named[:number] if named != [""] else [str(gpu) for gpu in range(number)]
