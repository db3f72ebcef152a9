"""Which running trials still run, on this machine or elsewhere."""

from __future__ import annotations

import math
import os
import platform
import secrets
from collections.abc import Iterable
from datetime import datetime
from time import monotonic
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from zsl.files.processes import is_running, process_space

OWN: dict[str, Any] = {
    "host": platform.node(),
    "space": process_space(),
    "process": os.getpid(),
    "session": secrets.token_hex(8),
}
BEAT_SECONDS = 30.0
PATIENCE_SECONDS = 150.0


def beat(trial: optuna.Trial) -> None:
    """Shows that a trial runs; to be called every `BEAT_SECONDS`.

    Raises:
        optuna.exceptions.UpdateFinishedTrialError: Another machine has given it up.
    """
    trial.set_user_attr("beat", datetime.now().isoformat())


def has_ended(trial: FrozenTrial) -> bool:
    """Whether a running trial's process has ended, where it is known: on its own machine."""
    own = trial.user_attrs
    if any(own.get(key) != OWN[key] for key in ("host", "space")) or "process" not in own:
        return False
    # Its number may have been given again, to this process.
    is_own_number = own["process"] == OWN["process"]
    return own.get("session") != OWN["session"] if is_own_number else not is_running(own["process"])


class Silence:
    """Finds running trials that show no sign of life for `PATIENCE_SECONDS`.

    That is measured by this machine's clock, while it looks: after an outage, in which no machine
    could show anything, all have as long again. Optuna's heartbeat compares the last one with the
    database's clock, so that the first machine to be back would give up all trials of the others
    (as would daylight saving time); and a trial whose machine dies as it takes it has none, as
    has a journal.
    """

    def __init__(self) -> None:
        self._looked = -math.inf
        self._since: dict[int, tuple[str | None, float]] = {}

    def find(self, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """Looks at the running trials of others; returns those to be given up."""
        now = monotonic()
        # A short outage leaves the others time enough; one look may take seconds.
        earlier = self._since if now - self._looked < PATIENCE_SECONDS / 2 else {}
        self._looked, self._since, silent = now, {}, []
        for trial in trials:
            sign = trial.user_attrs.get("beat")
            last, since = earlier.get(trial.number, (sign, now))
            self._since[trial.number] = (sign, since if sign == last else now)
            if now - self._since[trial.number][1] > PATIENCE_SECONDS:
                silent.append(trial)
        return silent
