"""The Optuna study of a sweep: which trial is next, whoever works on it."""

from __future__ import annotations

import json
import secrets
import sys
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import Event
from typing import Any, TypeVar

import optuna
from filelock import FileLock
from optuna.distributions import IntDistribution, distribution_to_json
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from zsl.errors import require
from zsl.sweeps.liveness import OWN, Silence, has_ended
from zsl.sweeps.spec import SEED, Sweep, values_of
from zsl.sweeps.storage import is_outage, open_storage, reason_of_storage, refusals, shown

STOPPED = "stopped with the sweep"
RETRY_SECONDS = 2.0
DONE = (TrialState.COMPLETE, TrialState.PRUNED)
LIVE = (*DONE, TrialState.RUNNING, TrialState.WAITING)
T = TypeVar("T")


class Study:
    """The trials of a sweep, shared by all processes and machines that work on it.

    Its points are the combinations of a grid, or the draws of a search. Those without a live trial
    wait in Optuna's queue, from which each is taken once. One whose machine died, or was stopped,
    is put in again by the first that has nothing else to do; one that failed by itself when the
    command is given again.
    Optuna's GridSampler would hand out running points again once no others are left, take failed
    ones as done, and not let a grid grow.

    Args:
        sweep: What is searched.
        storage: A file, or the URL of a database.

    Raises:
        InputError: The storage can't be opened, or holds a study of another sweep.
    """

    def __init__(self, sweep: Sweep, storage: str) -> None:
        self.sweep = sweep
        self.storage = storage
        self.points: dict[str, Any] = {f"draw {number}": None for number in range(sweep.count or 0)}
        self.searched = {name: one for name, one in sweep.parameters.items() if name != SEED}
        if sweep.method == "grid":
            self.points = {json.dumps(values, sort_keys=True): values for values in sweep.points()}
            self.searched = {}
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Trials that run at the same time should not all look at the same region.
        tpe = optuna.samplers.TPESampler(multivariate=True, constant_liar=True)
        # SQLite would hand the same trial to two processes that ask at the same moment.
        self.lock = FileLock(sweep.folder / "study.lock")
        self.stopped = Event()
        self._taken: set[int] = set()
        self._silence = Silence()
        with refusals(storage):
            self.optuna = optuna.create_study(
                storage=open_storage(storage),
                sampler=tpe if sweep.method == "bayes" else optuna.samplers.RandomSampler(),
                pruner=_make_pruner(sweep.early_terminate),
                study_name=sweep.name,
                direction="maximize" if sweep.maximize else "minimize",
                load_if_exists=True,
            )
            with self.lock:
                self._check_definition()
                self._give_up(filter(has_ended, self.trials(TrialState.RUNNING)))
                self._enqueue(at_restart=True)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """The trials in these states (default: any), without those that never ran."""
        trials = self.optuna.get_trials(deepcopy=False, states=states or None)
        return [t for t in trials if t.state != TrialState.FAIL or "host" in t.user_attrs]

    def next_trial(self) -> optuna.Trial | None:
        """Takes the next trial, its `values` among its user attributes; None if all are taken.

        To be called with the lock.
        """
        if not self.trials(TrialState.WAITING):
            self._take_over()
        while self.trials(TrialState.WAITING):
            trial = self.optuna.ask(self.searched)
            point: Any = trial.user_attrs.get("point")
            if self._is_superfluous(point, trial.number):
                self.optuna.tell(trial, state=TrialState.FAIL)
                continue
            drawn = {
                name: json.loads(value) if isinstance(value, str) else value
                for name, value in trial.params.items()
            }
            values = self.points[point] or drawn | trial.user_attrs["seed"]
            for name, value in {"values": values, **OWN}.items():
                trial.set_user_attr(name, value)
            self._taken.add(trial.number)
            return trial
        return None

    def others(self) -> list[FrozenTrial]:
        """The trials that other processes and machines run."""
        return [t for t in self.trials(TrialState.RUNNING) if t.number not in self._taken]

    def is_over(self) -> bool:
        """Whether all is done, but for what this process runs: other machines may die."""
        trials = self.trials()  # Read once, for they change at any time.
        others = [trial for trial in trials if trial.number not in self._taken]
        is_pending = any(t.state in (TrialState.RUNNING, TrialState.WAITING) for t in others)
        return not is_pending and not self._missing(trials, at_restart=False)

    def finish(
        self,
        trial: optuna.Trial,
        state: TrialState,
        value: float | None = None,
        attributes: dict[str, Any] | None = None,
    ) -> bool:
        """Keeps how a trial ended; False if another machine had given it up, and runs it again."""
        with suppress(UpdateFinishedTrialError):
            for name, attribute in (attributes or {}).items():
                trial.set_user_attr(name, attribute)
            self.optuna.tell(trial, value, state, skip_if_finished=True)
        # An attempt before may have been kept, and its answer lost on the way.
        (kept,) = (one for one in self.trials() if one.number == trial.number)
        return kept.state == state

    def patiently(self, call: Callable[[], T]) -> T:
        """Returns what a function returns, once the database can be reached; ends with `stopped`.

        Raises:
            optuna.exceptions.StorageInternalError: The sweep is stopped meanwhile, or the error is
                of another kind.
        """
        is_told = False
        while True:
            try:
                return call()
            except StorageInternalError as error:
                if not is_outage(error):
                    raise
                if not is_told:
                    reason = reason_of_storage(error, self.storage)
                    text = f"{shown(self.storage)} can't be reached, trying again: {reason}."
                    tqdm.write(text, file=sys.stderr)
                is_told = True
                if self.stopped.wait(RETRY_SECONDS):
                    raise

    def _take_over(self) -> None:
        """Puts in again what was lost with its machine, or stopped; not what failed by itself."""
        others = self.others()
        silent = self._silence.find(others)
        self._give_up(trial for trial in others if has_ended(trial) or trial in silent)
        self._enqueue(at_restart=False)

    def _give_up(self, trials: Iterable[FrozenTrial]) -> None:
        for trial in trials:
            with suppress(UpdateFinishedTrialError):  # It has ended, or another machine was first.
                self.optuna.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    def _is_superfluous(self, point: str | None, number: int) -> bool:
        """Whether a point is none of this sweep's, or an earlier trial's.

        Machines with folders of their own share no lock: another may have put in the same points,
        or taken the last one.
        """
        earlier = [trial for trial in self.trials(*LIVE) if trial.number < number]
        return point not in self.points or point in map(_point_of, earlier)

    def _enqueue(self, at_restart: bool) -> None:
        """Puts in what is missing, as drawn where it was run before."""
        for point, failed in self._missing(self.trials(), at_restart).items():
            seed = failed.user_attrs["seed"] if failed else self._draw_seed()
            params = failed.params if failed else {}
            self.optuna.enqueue_trial(params, {"point": point, "seed": seed})

    def _missing(
        self, trials: list[FrozenTrial], at_restart: bool
    ) -> dict[str, FrozenTrial | None]:
        """The points that have no live trial, each with its last one that failed.

        Those that failed by themselves are missing at a restart only; where nothing says how one
        failed, its machine died, maybe as it was about to say that it is complete.
        """
        live = {_point_of(trial) for trial in trials if trial.state in LIVE}
        failed = {_point_of(trial): trial for trial in trials if trial.state == TrialState.FAIL}
        gone = {point: failed.get(point) for point in self.points if point not in live}
        return {
            point: trial
            for point, trial in gone.items()
            if at_restart or not trial or trial.user_attrs.get("message") in (None, "", STOPPED)
        }

    def _draw_seed(self) -> dict[str, Any]:
        """The seed of a search at random: it is noise, nothing for a sampler to learn from."""
        seed: Any = self.sweep.parameters.get(SEED)
        if seed is None or self.sweep.method == "grid":
            return {}
        is_range = isinstance(seed, IntDistribution)
        seeds = range(seed.low, seed.high + 1) if is_range else values_of(seed)
        return {SEED: secrets.choice(seeds)}

    def _check_definition(self) -> None:
        """Refuses another sweep's study; a grid may grow, and lose points that were not run."""
        sweep = self.sweep
        parameters = {name: distribution_to_json(one) for name, one in sweep.parameters.items()}
        new = {**vars(sweep), "parameters": parameters}
        new = {key: value for key, value in new.items() if key not in ("file", "name", "count")}
        old = self.optuna.user_attrs.get("definition", {})
        folders = list(sweep.folder.glob("trial_*"))
        require(
            bool(old or self.trials() or not folders),
            f"{sweep.folder} holds {len(folders)} trials that are not of this study; move the "
            "folder away, or give the sweep another name.",
        )
        changed = [key for key in new if old and old.get(key) != new[key]]
        kept = self.trials(*DONE, TrialState.RUNNING)
        run = set(map(_point_of, kept))
        has_grown = changed == ["parameters"] and sweep.method == "grid" and run <= {*self.points}
        require(
            not changed or has_grown or not kept,  # A refused first trial binds nobody.
            f"{shown(self.storage)} holds the sweep {sweep.name} with other {', '.join(changed)} "
            f"than {sweep.file} and the command line now say; give the sweep another name, or go "
            "on with what it was begun with.",
        )
        self.optuna.set_user_attr("definition", new)


def _point_of(trial: FrozenTrial) -> str | None:
    return trial.user_attrs.get("point")


def _make_pruner(entry: dict[str, Any] | None) -> optuna.pruners.BasePruner:
    if entry is None:
        return optuna.pruners.NopPruner()
    eta, longest = entry.get("eta", 3), entry.get("max_iter", "auto")
    shortest = entry.get("min_iter") or max(1, round(longest / eta ** entry["s"]))
    return optuna.pruners.HyperbandPruner(shortest, longest, eta)
