"""What a sweep varies: values to choose from, and ranges."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from zsl.errors import InputError, require

RANGES = ("uniform", "int_uniform", "q_uniform", "log_uniform_values")


@dataclass(frozen=True)
class Choice:
    """One of several values, each anything that YAML can say."""

    values: list[Any]

    @property
    def distribution(self) -> BaseDistribution:
        """As JSON text: Optuna's categories can't be dictionaries."""
        return CategoricalDistribution([json.dumps(value) for value in self.values])

    def value(self, suggested: Any) -> Any:
        """The value that Optuna means."""
        return json.loads(suggested)

    def draw(self) -> Any:
        """A value at random."""
        return random.SystemRandom().choice(self.values)

    def examples(self) -> list[Any]:
        """What to check before anything is run."""
        return self.values


@dataclass(frozen=True)
class Range:
    """A number of an interval, its ends included.

    Args:
        low: An int where only ints are meant.
        high: Likewise.
        step: Between two values; None is the finest.
        log: Whether the logarithm is uniform.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False

    @property
    def distribution(self) -> BaseDistribution:
        """As Optuna has it."""
        numbers = (self.low, self.high, self.step or 1)
        if all(isinstance(number, int) for number in numbers) and not self.log:
            return IntDistribution(int(self.low), int(self.high), step=int(self.step or 1))
        return FloatDistribution(float(self.low), float(self.high), log=self.log, step=self.step)

    def value(self, suggested: Any) -> Any:
        """The value that Optuna means."""
        return suggested

    def draw(self) -> Any:
        """An int at random."""
        return random.SystemRandom().randint(int(self.low), int(self.high))

    def examples(self) -> list[Any]:
        """What to check before anything is run."""
        return [self.low, self.high]


def read_parameter(entry: Any, where: str) -> Choice | Range:
    """Reads a parameter's entry of a sweep file.

    Args:
        entry: The entry.
        where: File and parameter, for messages.

    Raises:
        InputError: The entry is none of the forms known here.
    """
    forms = "value, values, or min and max"
    require(isinstance(entry, dict), f"{where} is {entry!r}; expected a mapping with {forms}.")
    unknown = set(entry) - {"value", "values", "min", "max", "q", "distribution"}
    require(
        not unknown,
        f"{where} has {', '.join(sorted(map(repr, unknown)))}, which can't be run here; expected "
        f"{forms}.",
    )
    kind = entry.get("distribution", _implied(entry))
    if kind in ("constant", "categorical"):
        values = entry.get("values", [entry["value"]] if "value" in entry else None)
        require(
            isinstance(values, list) and bool(values),
            f"{where} has {values!r} as its values; expected a list of at least one.",
        )
        return Choice(values)
    require(
        kind in RANGES,
        f"{where} has the distribution {kind!r}, which can't be run here; expected constant, "
        f"categorical, {', '.join(RANGES)}.",
    )
    return _read_range(kind, entry, where)


def _implied(entry: dict[str, Any]) -> str:
    """The distribution of an entry that names none, as W&B has it."""
    if "value" in entry or "values" in entry:
        return "categorical"
    is_int = all(isinstance(entry.get(end), int) for end in ("min", "max"))
    return "int_uniform" if is_int else "uniform"


def _read_range(kind: str, entry: dict[str, Any], where: str) -> Range:
    numbers = {"q": 1, **entry}
    for name in ("min", "max", "q"):
        number = numbers.get(name)
        if name not in numbers:
            raise InputError(f"{where} has no {name}; expected value, values, or min and max.")
        require(
            isinstance(number, int | float) and not isinstance(number, bool),
            f"{where} has {number!r} as {name}; expected a number (YAML reads 1e-4 as a text, "
            "1.0e-4 as a number).",
        )
    low, high, step = numbers["min"], numbers["max"], numbers["q"]
    require(low < high, f"{where} has min {low} and max {high}; expected min below max.")
    if kind == "q_uniform":
        require(step > 0, f"{where} has q {step}; expected above 0.")
        return Range(low, high, step)
    if kind == "log_uniform_values":
        require(low > 0, f"{where} has min {low}; expected above 0 for log_uniform_values.")
        return Range(low, high, log=True)
    is_int = isinstance(low, int) and isinstance(high, int)
    require(
        kind == "uniform" or is_int,
        f"{where} has min {low} and max {high}; expected whole numbers for int_uniform.",
    )
    # W&B refuses these without a distribution.
    require(
        "distribution" in entry or isinstance(low, int) == isinstance(high, int),
        f"{where} has min {low} and max {high}; expected two whole numbers or two with a point.",
    )
    return Range(low, high) if kind == "int_uniform" else Range(float(low), float(high))
