"""Reading a sweep file in the format of Weights & Biases, its parameters as Optuna has them."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from zsl.errors import InputError, did_you_mean, require

SEED = "seed_everything"
KEYS = ["name", "description", "project", "entity", "program", "command", "method", "metric"]
KEYS += ["parameters", "early_terminate", "run_cap"]
RANGES = ["uniform", "int_uniform", "q_uniform", "log_uniform_values"]
WANDB_CONFIG = "--config=loggers/wandb.yaml"
COMMAND = "[${env}, ${interpreter}, -m, ${program}, --config, shapes.yaml, ${args}]"


@dataclass(frozen=True)
class Sweep:
    """What a sweep file and the command line ask for.

    The metric is one of the validation, `args` are those of `zsl.fit` before what is swept, and
    `count` is the most trials (None: all points of a grid).
    """

    file: str
    name: str
    method: str
    metric: str
    maximize: bool
    parameters: dict[str, BaseDistribution]
    early_terminate: dict[str, Any] | None
    count: int | None
    args: list[str]

    @property
    def folder(self) -> Path:
        """Where trials and results go."""
        return Path("runs", "sweeps", self.name)

    def best(self, scores: list[float]) -> float:
        """The best of some values of the metric."""
        return max(scores) if self.maximize else min(scores)

    def points(self) -> list[dict[str, Any]]:
        """The points of a grid: every combination of the values, the last parameter fastest."""
        points = itertools.product(*map(values_of, self.parameters.values()))
        return [dict(zip(self.parameters, point, strict=True)) for point in points][: self.count]

    def examples(self) -> list[dict[str, Any]]:
        """A few points in which each value of each parameter occurs."""
        values = {name: values_of(parameter) for name, parameter in self.parameters.items()}
        first = {name: own[0] for name, own in values.items()}
        rest = [first | {name: value} for name, own in values.items() for value in own[1:]]
        return [first, *rest]

    def fit_args(self, values: dict[str, Any]) -> list[str]:
        """The arguments of `zsl.fit` for values; the checkpoint is selected by the metric."""
        monitor = [f"--checkpoint.monitor={self.metric}"]
        monitor += [f"--checkpoint.mode={'max' if self.maximize else 'min'}"]
        # As the agent of W&B formats them.
        return [*self.args, *monitor, *(f"--{name}={value}" for name, value in values.items())]


def read_sweep(
    file: str,
    args: Sequence[str] = (),
    count: int | None = None,
    wandb: bool = False,
    name: str | None = None,
) -> Sweep:
    """Reads and checks a sweep file.

    Args:
        file: Its path.
        args: Arguments of `zsl.fit` to put after those of the file's command; the first config
            among them takes the place of the command's first.
        count: The most trials, in place of the file's `run_cap`.
        wandb: Whether the trials log to W&B.
        name: In place of the file's.

    Raises:
        InputError: It can't be read, or asks for something that can't be done here.
    """
    given = {"name": name, "run_cap": count}
    content: dict[str, Any] = dict.fromkeys(KEYS) | {"name": Path(file).stem} | _load(file)
    content |= {key: value for key, value in given.items() if value is not None}

    def expect(key: str, condition: object, expected: str) -> None:
        require(bool(condition), f"{file}: {key} is {content[key]!r}; expected {expected}.")

    name, method, metric, count = (content[key] for key in ("name", "method", "metric", "run_cap"))
    entries, early = content["parameters"], content["early_terminate"]
    can_be_folder = re.fullmatch(r"(?!\.+$)[\w.,+= -]+", str(name))
    expect("name", can_be_folder, "one that can name a folder")
    expect("method", method in ("grid", "random", "bayes"), "grid, random or bayes")
    is_metric = isinstance(metric, dict) and set(metric) == {"name", "goal"}
    expect("metric", is_metric, "{name: val/zsl/mAP, goal: maximize}")
    is_validated = str(metric["name"]).startswith("val/")
    expect("metric", is_validated, "a name like val/zsl/mAP, measured in validation on held-out "
           "seen labels, since selection never sees the unseen ones")  # fmt: skip
    expect("metric", metric["goal"] in ("maximize", "minimize"), "the goal maximize or minimize")
    is_count = isinstance(count, int) and count >= 1
    expect("run_cap", is_count or (count is None and method == "grid"), "1 trial or more, in the "
           "file or by --count, since only a grid has an end")  # fmt: skip
    expect("parameters", isinstance(entries, dict) and entries, "at least one parameter")
    expect("early_terminate", early is None or _is_hyperband(early), "{type: hyperband} with "
           "min_iter, or max_iter and s, and eta as whole numbers")  # fmt: skip
    expect("program", content["program"] == "zsl.fit", "zsl.fit")
    command = "\n".join(map(str, content["command"] or ()))
    _, runs_fit, own = command.removesuffix("\n${args}").partition("-m\n${program}")
    is_command = command.endswith("\n${args}") and runs_fit and "${" not in own
    expect("command", is_command, COMMAND)
    parameters = {
        name: read_parameter(entry, f"{file}: parameter {name}", name == SEED, method == "grid")
        for name, entry in entries.items()
    }
    return Sweep(
        file=file,
        name=str(name),
        method=method,
        metric=metric["name"],
        maximize=metric["goal"] == "maximize",
        parameters=parameters,
        early_terminate=early,
        count=count,
        args=_join(own.split("\n")[1:], args, wandb),
    )


def read_parameter(
    entry: Any, where: str, is_seed: bool = False, is_grid: bool = False
) -> BaseDistribution:
    """Reads a parameter's entry of a sweep file.

    Args:
        entry: The entry.
        where: File and parameter, for messages.
        is_seed: Whether it has to be a whole number.
        is_grid: Whether it has to have values to choose from.

    Returns:
        The distribution. Values to choose from are JSON text, since Optuna's categories can't be
        dictionaries.

    Raises:
        InputError: The entry is not one that can be run here.
    """

    def expect(condition: bool, expected: str) -> None:
        require(condition, f"{where} is {entry!r}; expected {expected}.")

    known = {"value", "values", "min", "max", "q", "distribution"}
    expect(isinstance(entry, dict) and set(entry) <= known, "value, values, or min and max")
    values = entry.get("values", [entry["value"]] if "value" in entry else None)
    kind = entry.get("distribution", "categorical" if values is not None else None)
    if kind in ("constant", "categorical"):
        expect(isinstance(values, list) and bool(values), "a list of at least one value")
        return CategoricalDistribution([json.dumps(value, default=str) for value in values])
    expect(kind in (None, *RANGES), f"constant, categorical, {', '.join(RANGES)}")
    expect(not is_grid, "values: [...], for a grid has no ranges")
    low, high, step = numbers = [entry.get("min"), entry.get("max"), entry.get("q", 1)]
    are_numbers = all(type(number) in (int, float) for number in numbers)
    expect(are_numbers, "numbers as min and max (YAML reads 1e-4 as text, 1.0e-4 as a number)")
    expect(low < high, "min below max")
    expect(step > 0, "q above 0")
    expect(kind != "log_uniform_values" or low > 0, "min above 0")
    is_int = [type(number) is int for number in numbers]
    # W&B refuses one whole number and one with a point where no distribution is named.
    expect(kind is not None or is_int[0] == is_int[1], "two whole numbers or two with a point")
    expect(kind != "int_uniform" or all(is_int[:2]), "whole numbers")
    if kind == "int_uniform" or (kind in (None, "q_uniform") and all(is_int)):
        return IntDistribution(low, high, step=step if kind == "q_uniform" else 1)
    expect(not is_seed, "a range of whole numbers")
    is_log = kind == "log_uniform_values"
    return FloatDistribution(low, high, log=is_log, step=step if kind == "q_uniform" else None)


def values_of(parameter: BaseDistribution) -> list[Any]:
    """The values to choose from; of a range its ends."""
    if isinstance(parameter, CategoricalDistribution):
        return [json.loads(str(choice)) for choice in parameter.choices]
    assert isinstance(parameter, IntDistribution | FloatDistribution)
    return [parameter.low, parameter.high]


def _load(file: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not YAML: {' '.join(str(error).split())}.") from error
    require(isinstance(content, dict), f"{file} holds no mapping; expected a sweep file.")
    for key in content:
        hint = did_you_mean(str(key), KEYS)
        require(key in KEYS, f"{file}: {key!r} is not supported; expected {', '.join(KEYS)}.{hint}")
    return content


def _is_hyperband(entry: Any) -> bool:
    least = {"min_iter": 1, "max_iter": 2, "s": 1, "eta": 2}
    return (
        isinstance(entry, dict)
        and entry.get("type") == "hyperband"
        and set(entry) <= {"type", *least}
        and ("min_iter" in entry or {"max_iter", "s"} <= set(entry))
        and all(
            type(entry[name]) is int and entry[name] >= least[name] for name in {*entry} & {*least}
        )
    )


def _join(command: list[str], args: Sequence[str], wandb: bool) -> list[str]:
    """Joins arguments; the first config of `args` takes the place of the command's first.

    Laid over it instead, it would leave what it does not set as that one has it. Logging to W&B is
    up to `wandb`, not to the command.
    """
    command = [word for word in _one_word_configs(command) if word != WANDB_CONFIG]
    args = _one_word_configs(args)
    first, own = (
        next((word for word in words if word.startswith("--config=")), None)
        for words in (args, command)
    )
    if first and own:
        args.remove(first)
        command[command.index(own)] = first
    return [*command, *args, *([WANDB_CONFIG] if wandb else [])]


def _one_word_configs(words: Sequence[str]) -> list[str]:
    """Writes `--config NAME` as `--config=NAME`."""
    text = re.sub(r"(?m)^(--config|-c)\n", "--config=", "\n".join(map(str, words)))
    return text.split("\n") if words else []
