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
from optuna import distributions

from zsl.errors import InputError, did_you_mean, others, require

SEED = "seed_everything"
KEYS = ["name", "description", "project", "entity", "program", "command", "method", "metric"]
KEYS += ["parameters", "early_terminate", "run_cap"]
RANGES = ["uniform", "int_uniform", "q_uniform", "log_uniform_values"]
WANDB_CONFIG = "--config=loggers/wandb.yaml"
COMMAND = "[${env}, ${interpreter}, -m, ${program}, --config, shapes.yaml, ${args}]"


@dataclass(frozen=True)
class Sweep:
    """What a sweep file and the command line ask for.

    The metric is one of the validation, `arguments` are those of `zsl.fit` before what is swept,
    and `count` is the most trials (None: all points of a grid).
    """

    file: str
    name: str
    method: str
    metric: str
    maximize: bool
    parameters: dict[str, distributions.BaseDistribution]
    early_terminate: dict[str, Any] | None
    count: int | None
    arguments: list[str]

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
        return [*self.arguments, *monitor, *(f"--{name}={value}" for name, value in values.items())]


def read_sweep(
    file: str,
    args: Sequence[str] = (),
    count: int | None = None,
    wandb: bool = False,
    name: str | None = None,
) -> Sweep:
    """Reads and checks a sweep file; `count` and `name` take the place of its own.

    `args`, of `zsl.fit`, are put after those of its command, their first config in the place of
    the command's first; with `wandb` the trials log to W&B.

    Raises:
        InputError: It can't be read, or asks for something that can't be done here.
    """
    given = {"name": name, "run_cap": count}
    content: dict[str, Any] = dict.fromkeys(KEYS) | {"name": Path(file).stem} | _load(file)
    content |= {key: value for key, value in given.items() if value is not None}

    _check(file, content)
    method, metric = content["method"], content["metric"]
    own = _own_arguments(content["command"])
    assert own is not None
    return Sweep(
        file=file,
        name=str(content["name"]),
        method=method,
        metric=metric["name"],
        maximize=metric["goal"] == "maximize",
        parameters={
            key: read_parameter(entry, f"{file}: parameter {key}", method, key == SEED)
            for key, entry in content["parameters"].items()
        },
        early_terminate=content["early_terminate"],
        count=content["run_cap"],
        arguments=_join(own, args, wandb),
    )


def _check(file: str, content: dict[str, Any]) -> None:
    """Refuses what can't be done here."""

    def expect(key: str, condition: object, expected: str) -> None:
        value = content[key]
        found = f"there is no {key}" if value is None else f"{key} is {value!r}"
        require(bool(condition), f"{file}: {found}; expected {expected}.")

    name, method, metric, count = (content[key] for key in ("name", "method", "metric", "run_cap"))
    entries, early = content["parameters"], content["early_terminate"]
    can_be_folder = re.fullmatch(r"(?!\.+$)[\w.,+= -]+", str(name))
    expect("name", can_be_folder, "one that can name a folder")
    expect("method", method in ("grid", "random", "bayes"), "grid, random or bayes")
    is_metric = isinstance(metric, dict) and set(metric) == {"name", "goal"}
    expect("metric", is_metric, "{name: val/zsl/mAP, goal: maximize}")
    is_validated = str(metric["name"]).startswith("val/")
    expect("metric", is_validated, "a val/... of held-out labels: selection sees no unseen ones")
    expect("metric", metric["goal"] in ("maximize", "minimize"), "the goal maximize or minimize")
    is_count = isinstance(count, int) and count >= 1
    is_bounded = is_count or (count is None and method == "grid")
    expect("run_cap", is_bounded, "1 or more, here or as --count; only a grid has an end itself")
    expect("parameters", isinstance(entries, dict) and entries, "at least one parameter")
    hyperband = "{type: hyperband}, min_iter or max_iter and s, and eta as whole numbers"
    expect("early_terminate", early is None or _is_hyperband(early), hyperband)
    expect("program", content["program"] == "zsl.fit", "zsl.fit")
    expect("command", _own_arguments(content["command"]) is not None, COMMAND)


def _own_arguments(command: Sequence[Any] | None) -> list[str] | None:
    """The arguments of `zsl.fit` in a command; None if it is another one."""
    text = "\n".join(map(str, command or ()))
    _, runs_fit, own = text.removesuffix("\n${args}").partition("-m\n${program}")
    is_command = text.endswith("\n${args}") and runs_fit and "${" not in own
    return own.split("\n")[1:] if is_command else None


def read_parameter(
    entry: Any, where: str, method: str = "random", is_seed: bool = False
) -> distributions.BaseDistribution:
    """Reads a parameter's entry of a sweep file; `where` is file and parameter, for messages.

    Returns:
        Its distribution. Values to choose from are JSON text: Optuna has no dictionaries.

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
        choices = [json.dumps(value, default=str) for value in values]
        return distributions.CategoricalDistribution(choices)
    expect(kind in (None, *RANGES), f"constant, categorical, {', '.join(RANGES)}")
    expect(method != "grid", "values: [...], for a grid has no ranges")
    low, high, step = numbers = [entry.get("min"), entry.get("max"), entry.get("q", 1)]
    is_int = [type(number) is int for number in numbers]
    are_numbers = all(type(number) in (int, float) for number in numbers)
    expect(are_numbers, "numbers as min and max (YAML reads 1e-4 as text, 1.0e-4 as a number)")
    expect(low < high and step > 0, "min below max, and q above 0")
    expect(kind != "log_uniform_values" or low > 0, "min above 0")
    expect(kind != "int_uniform" or all(is_int[:2]), "whole numbers")
    # As W&B has it.
    expect(kind is not None or is_int[0] == is_int[1], "two whole numbers or two with a point")
    steps = step if kind == "q_uniform" else None
    if kind == "int_uniform" or (kind in (None, "q_uniform") and all(is_int)):
        return distributions.IntDistribution(low, high, step=steps or 1)
    expect(not is_seed, "a range of whole numbers")
    return distributions.FloatDistribution(low, high, log=kind == "log_uniform_values", step=steps)


def values_of(parameter: Any) -> list[Any]:
    """The values to choose from; of a range its ends."""
    if isinstance(parameter, distributions.CategoricalDistribution):
        return [json.loads(str(choice)) for choice in parameter.choices]
    return [parameter.low, parameter.high]


def _load(file: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not YAML: {' '.join(str(error).split())}.") from error
    require(isinstance(content, dict), f"{file} holds no mapping; expected a sweep file.")
    if unknown := [str(key) for key in content if key not in KEYS]:
        raise InputError(
            f"{file}: {unknown[0]!r} is not supported; expected {', '.join(KEYS)}."
            + did_you_mean(unknown[0], KEYS)
            + others(unknown)
        )
    return content


def _is_hyperband(entry: Any) -> bool:
    least = {"min_iter": 1, "max_iter": 2, "s": 1, "eta": 2}
    if not isinstance(entry, dict) or entry.get("type") != "hyperband":
        return False
    numbers = {name: number for name, number in entry.items() if name != "type"}
    has_shortest = "min_iter" in numbers or {"max_iter", "s"} <= set(numbers)
    are_known = has_shortest and set(numbers) <= set(least)
    return are_known and all(type(n) is int and n >= least[name] for name, n in numbers.items())


def _join(command: list[str], args: Sequence[str], wandb: bool) -> list[str]:
    """Joins arguments; the first config of `args` takes the place of the command's first.

    Laid over it instead, it would leave what it does not set as that one has it. Whether W&B logs
    is not up to the command.
    """
    command, args = (
        re.sub(r"(?m)^(--config|-c)\n", "--config=", "\n".join(words)).split("\n") if words else []
        for words in (command, args)
    )
    command = [word for word in command if word != WANDB_CONFIG]
    firsts = [[word for word in words if word.startswith("--config=")] for words in (command, args)]
    if all(firsts):
        args.remove(firsts[1][0])
        command[command.index(firsts[0][0])] = firsts[1][0]
    return [*command, *args, *([WANDB_CONFIG] if wandb else [])]
