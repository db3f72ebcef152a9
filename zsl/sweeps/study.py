"""The Optuna study of a sweep: which trial is next, whoever works on it."""

from __future__ import annotations

import json
import os
import platform
import warnings
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from zsl.errors import InputError, require
from zsl.sweeps.parameters import Range
from zsl.sweeps.spec import SEED, Sweep
from zsl.sweeps.trial import Outcome

OWN = {"host": platform.node(), "process": os.getpid()}
LIVE = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.WAITING)


class Study:
    """The trials of a sweep, shared by all that work on it.

    Nothing is locked: several may put a point in at the same moment. The trial with the lowest
    number counts; the others are superfluous and end before they run.

    Args:
        sweep: What is searched.
        storage: A file, or the URL of a database.

    Raises:
        InputError: The storage can't be opened, or holds a study of another sweep.
    """

    def __init__(self, sweep: Sweep, storage: str) -> None:
        self.sweep = sweep
        self.storage = storage
        self._num_failed = 0
        self.is_grid = sweep.method == "grid"
        self._searched = {
            name: parameter
            for name, parameter in sweep.parameters.items()
            # The points of a grid are known; a seed is noise, nothing to learn from.
            if not self.is_grid and name != SEED
        }
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.optuna = optuna.create_study(
                storage=_open(storage),
                sampler=_sampler(sweep.method),
                pruner=_pruner(sweep.early_terminate),
                study_name=sweep.name,
                direction="maximize" if sweep.maximize else "minimize",
                load_if_exists=True,
            )
        self._check_definition()
        self._end_dead()
        self._enqueue()

    def trials(self) -> list[FrozenTrial]:
        """All trials but the superfluous ones."""
        trials = self.optuna.get_trials(deepcopy=False)
        return [trial for trial in trials if "superfluous" not in trial.user_attrs]

    def num_finished(self) -> int:
        """Trials that need not be run again."""
        done = (TrialState.COMPLETE, TrialState.PRUNED)
        return sum(trial.state in done for trial in self.trials())

    def num_wanted(self) -> int:
        """Trials there will be, those that failed left out."""
        if self.is_grid:
            return len(self.sweep.points())
        assert self.sweep.count is not None
        return self.sweep.count

    def next_trial(self) -> optuna.Trial | None:
        """Takes the next trial to run; None where all are taken. `values_of` says what to run."""
        while self._is_wanted():
            trial = self.optuna.ask(
                {name: parameter.distribution for name, parameter in self._searched.items()}
            )
            if self._is_superfluous(trial):
                trial.set_user_attr("superfluous", True)
                self.optuna.tell(trial, state=TrialState.FAIL)
                continue
            for name, value in OWN.items():
                trial.set_user_attr(name, value)
            if "values" not in trial.user_attrs:
                trial.set_user_attr("values", self._values(trial))
            return trial
        return None

    def tell(self, trial: optuna.Trial, outcome: Outcome) -> None:
        """Keeps how a trial ended."""
        trial.set_user_attr("config", outcome.config)
        trial.set_user_attr("results", outcome.results)
        trial.set_user_attr("message", outcome.message)
        if outcome.state == "complete":
            self.optuna.tell(trial, outcome.value)
        else:
            pruned = outcome.state == "pruned"
            self._num_failed += not pruned
            self.optuna.tell(trial, state=TrialState.PRUNED if pruned else TrialState.FAIL)

    def running_elsewhere(self) -> list[FrozenTrial]:
        """Trials that others run."""
        return [trial for trial in self.trials() if trial.state == TrialState.RUNNING]

    def _is_wanted(self) -> bool:
        trials = self.trials()
        if any(trial.state == TrialState.WAITING for trial in trials):
            return True
        live = sum(trial.state in LIVE for trial in trials)
        # Otherwise a search in which every trial fails would have no end.
        return not self.is_grid and live + self._num_failed < self.num_wanted()

    def _is_superfluous(self, trial: optuna.Trial) -> bool:
        """Whether an earlier trial does the same, or there are enough."""
        earlier = [
            other for other in self.trials() if other.number < trial.number and other.state in LIVE
        ]
        if not self.is_grid and len(earlier) >= self.num_wanted():
            return True
        if self.is_grid and trial.user_attrs.get("values") not in self.sweep.points():
            return True  # Another took the last one, or the file has changed.
        key = self._key(trial.user_attrs)
        return key is not None and any(self._key(other.user_attrs) == key for other in earlier)

    def _key(self, attributes: dict[str, Any]) -> str | None:
        """What a trial has in common with those that do the same: the point, or what it repeats."""
        name = "values" if self.is_grid else "repeats"
        return json.dumps(attributes[name], sort_keys=True) if name in attributes else None

    def _values(self, trial: optuna.Trial) -> dict[str, Any]:
        """What a trial of a random or bayes search runs."""
        return {
            name: parameter.value(trial.params[name])
            if name in self._searched
            else parameter.draw()
            for name, parameter in self.sweep.parameters.items()
        }

    def _enqueue(self) -> None:
        """Puts in the points that are missing, and again what failed."""
        trials = self.trials()
        live = {self._key(trial.user_attrs) for trial in trials if trial.state in LIVE}
        if self.is_grid:
            for values in self.sweep.points():
                if self._key({"values": values}) not in live:
                    self.optuna.enqueue_trial({}, user_attrs={"values": values})
            return
        repeated = {trial.user_attrs.get("repeats") for trial in trials}
        for trial in trials:
            has_failed = trial.state == TrialState.FAIL and "values" in trial.user_attrs
            if has_failed and trial.number not in repeated:
                attributes = {"repeats": trial.number, "values": trial.user_attrs["values"]}
                self.optuna.enqueue_trial(trial.params, user_attrs=attributes)

    def _end_dead(self) -> None:
        """Marks trials as failed whose process is no more."""
        for trial in self.running_elsewhere():
            if _is_dead(trial):
                self.optuna.tell(trial.number, state=TrialState.FAIL)

    def _are_points_kept(self) -> bool:
        """Whether a changed grid has all points that were run; others may come and go."""
        points = self.sweep.points()
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        run = [trial for trial in self.trials() if trial.state in states]
        return all(trial.user_attrs.get("values") in points for trial in run)

    def _check_definition(self) -> None:
        """Refuses another sweep's study."""
        new = _definition(self.sweep)
        old = self.optuna.user_attrs.get("definition")
        if old is None:
            folders = sorted(self.sweep.folder.glob("trial_*"))
            require(
                not folders or bool(self.optuna.get_trials(deepcopy=False)),
                f"{self.sweep.folder} holds {len(folders)} trials that are not of this study; move "
                "the folder away, or give the sweep another name.",
            )
        elif old != new:
            changed = [key for key in new if old.get(key) != new[key]]
            require(
                self.is_grid and changed == ["parameters"] and self._are_points_kept(),
                f"{self.storage} holds the sweep {self.sweep.name} with other "
                f"{', '.join(changed)} than {self.sweep.file} and the command line now say; give "
                "the sweep another name, or go on with what it was begun with.",
            )
        if old != new:
            self.optuna.set_user_attr("definition", new)


def _definition(sweep: Sweep) -> dict[str, Any]:
    """What trials must have in common to be compared."""
    parameters = {
        name: vars(parameter) if isinstance(parameter, Range) else parameter.values
        for name, parameter in sweep.parameters.items()
    }
    definition = {
        "method": sweep.method,
        "metric": [sweep.metric, sweep.maximize],
        "early_terminate": sweep.early_terminate,
        "arguments": sweep.args,
        "parameters": parameters,
    }
    return json.loads(json.dumps(definition))


def _is_dead(trial: FrozenTrial) -> bool:
    """Whether a running trial's process has ended, as far as can be told from this machine."""
    host, process = trial.user_attrs.get("host"), trial.user_attrs.get("process")
    if process is None:  # It was killed as it began, or begins at this moment.
        begun = trial.datetime_start or datetime.min
        return datetime.now() - begun > timedelta(minutes=1)
    if host != OWN["host"]:
        return False
    if process == os.getpid():  # The number of a dead process, given again.
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _open(storage: str) -> optuna.storages.BaseStorage:
    if "://" in storage:
        try:
            return optuna.storages.get_storage(storage)
        except Exception as error:  # Of SQLAlchemy and of any driver.
            reason = " ".join(str(error).split())
            raise InputError(f"The storage {storage} can't be opened: {reason}") from error
    path = Path(storage)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Optuna would write into any file.
    require(
        not path.exists() or (path.is_file() and path.open("rb").read(9) in (b"", b'{"op_code')),
        f"The storage {storage} is no study of Optuna's; expected a new file, or one of a sweep.",
    )
    return JournalStorage(JournalFileBackend(storage))


def _sampler(method: str) -> optuna.samplers.BaseSampler:
    if method == "bayes":
        # Trials that run at the same time should not all look at the same place.
        return optuna.samplers.TPESampler(multivariate=True, constant_liar=True)
    return optuna.samplers.RandomSampler()


def _pruner(entry: dict[str, Any] | None) -> optuna.pruners.BasePruner:
    if entry is None:
        return optuna.pruners.NopPruner()
    eta = entry.get("eta", 3)
    longest = entry.get("max_iter", "auto")
    shortest = entry.get("min_iter") or max(1, round(longest / eta ** entry["s"]))
    return optuna.pruners.HyperbandPruner(shortest, longest, eta)
