"""Reading a sweep file in the format of Weights & Biases."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from zsl.errors import InputError, did_you_mean, require
from zsl.sweeps.parameters import Choice, Range, read_parameter

SEED = "seed_everything"
FIGURES = ("mAP", "P@3", "R@3", "F1@3", "P@5", "R@5", "F1@5")
METRICS = (
    *(f"val/{group}/{figure}" for group in ("zsl", "gzsl", "seen") for figure in FIGURES),
    "val/harmonic_mAP",
)
"""What a validation of `zsl.fit` logs."""
KEYS = ["name", "description", "project", "entity", "program", "command", "method", "metric"]
KEYS += ["parameters", "early_terminate", "run_cap"]
WANDB_CONFIG = "loggers/wandb.yaml"
COMMAND = "[${env}, ${interpreter}, -m, ${program}, --config, shapes.yaml, ${args}]"


@dataclass(frozen=True)
class Sweep:
    """What a sweep file says.

    Args:
        file: Its path, for messages.
        name: Of the sweep.
        method: `grid`, `random` or `bayes`.
        metric: What is optimised, `val/...`.
        maximize: Whether more of it is better.
        parameters: What is varied, in the order of the file.
        early_terminate: The entry of that name.
        count: The most trials; None where a grid has no bound.
        args: The arguments of `zsl.fit` before those that are swept.
    """

    file: str
    name: str
    method: str
    metric: str
    maximize: bool
    parameters: dict[str, Choice | Range]
    early_terminate: dict[str, Any] | None
    count: int | None
    args: list[str]

    @property
    def folder(self) -> Path:
        """Where trials and results go."""
        return Path("runs", "sweeps", self.name)

    def points(self) -> list[dict[str, Any]]:
        """The points of a grid: every combination of the values."""
        choices = [parameter.examples() for parameter in self.parameters.values()]
        points = itertools.product(*choices)
        return [dict(zip(self.parameters, point, strict=True)) for point in points][: self.count]

    def examples(self) -> list[dict[str, Any]]:
        """A few points in which each value of each parameter occurs."""
        examples = {name: parameter.examples() for name, parameter in self.parameters.items()}
        return [
            {name: values[min(row, len(values) - 1)] for name, values in examples.items()}
            for row in range(max(map(len, examples.values())))
        ]

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
    content = _load(file)
    method = content["method"]
    require(
        method in ("grid", "random", "bayes"),
        f"{file}: method is {method!r}; expected grid, random or bayes.",
    )
    name = name or str(content.get("name", Path(file).stem))
    require(
        re.fullmatch(r"[\w.,+= -]+", name) is not None and name not in (".", ".."),
        f"{file}: name is {name!r}; expected one that can name a folder.",
    )
    metric, maximize = _read_metric(content["metric"], file)
    count = content.get("run_cap") if count is None else count
    require(
        count is None or (isinstance(count, int) and count >= 1),
        f"{file}: the number of trials is {count!r}; expected 1 or more.",
    )
    require(
        method == "grid" or count is not None,
        f"{file}: a {method} search has no end; set run_cap in the file, or --count.",
    )
    return Sweep(
        file=file,
        name=name,
        method=method,
        metric=metric,
        maximize=maximize,
        parameters=_read_parameters(content["parameters"], method, file),
        early_terminate=_read_early_terminate(content.get("early_terminate"), file),
        count=count,
        args=_join(_read_command(content, file), list(args), wandb),
    )


def _join(command: list[str], args: list[str], wandb: bool) -> list[str]:
    """Joins arguments; the first config of `args` takes the place of the command's first.

    Laid over it instead, it would leave what it does not set as that one has it.
    """
    command, args = _one_word_configs(command), _one_word_configs(args)
    first = next((word for word in args if word.startswith("--config=")), None)
    own = next((word for word in command if word.startswith("--config=")), None)
    if first and own:
        args.remove(first)
        command = [first if word == own else word for word in command]
    return [*command, *args, *([f"--config={WANDB_CONFIG}"] if wandb else [])]


def _one_word_configs(words: list[str]) -> list[str]:
    """Writes `--config NAME` as `--config=NAME`."""
    joined: list[str] = []
    for word in words:
        if joined[-1:] in (["--config"], ["-c"]):
            joined[-1] = f"--config={word}"
        else:
            joined.append(word)
    return joined


def _load(file: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{file}, line {line} is no YAML: {error.problem}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file} can't be read: {' '.join(str(error).split())}.") from error
    require(isinstance(content, dict), f"{file} holds no mapping; expected a sweep file.")
    for key in ("method", "metric", "parameters"):
        require(key in content, f"{file} has no {key}; expected a sweep file with method, metric "
                "and parameters.")  # fmt: skip
    for key in content:
        require(
            key in KEYS,
            f"{file}: {key!r} is nothing that can be run here; expected {', '.join(KEYS)}."
            + did_you_mean(str(key), KEYS),
        )
    return content


def _read_metric(metric: Any, file: str) -> tuple[str, bool]:
    """Returns its name, and whether more of it is better."""
    require(
        isinstance(metric, dict) and set(metric) == {"name", "goal"},
        f"{file}: metric is {metric!r}; expected {{name: val/zsl/mAP, goal: maximize}}.",
    )
    name, goal = metric["name"], metric["goal"]
    require(
        not str(name).startswith("test/"),
        f"{file}: metric.name is {name!r}; selection never sees the unseen labels, so it has to be "
        "measured in validation, where held-out seen labels stand for them: val/zsl/mAP.",
    )
    require(
        name in METRICS,
        f"{file}: metric.name is {name!r}, which zsl.fit doesn't log in validation; expected "
        f"val/zsl/mAP, val/seen/mAP, val/harmonic_mAP, ..." + did_you_mean(str(name), METRICS),
    )
    require(
        goal in ("maximize", "minimize"),
        f"{file}: metric.goal is {goal!r}; expected maximize or minimize.",
    )
    return name, goal == "maximize"


def _read_parameters(entries: Any, method: str, file: str) -> dict[str, Choice | Range]:
    require(
        isinstance(entries, dict) and bool(entries),
        f"{file}: parameters is {entries!r}; expected a mapping of at least one parameter.",
    )
    parameters = {
        name: read_parameter(entry, f"{file}: parameter {name}") for name, entry in entries.items()
    }
    for name, parameter in parameters.items():
        if isinstance(parameter, Choice):
            continue
        where = f"{file}: parameter {name}"
        require(method != "grid", f"{where} is a range; a grid needs values: [...].")
        require(
            name != SEED or isinstance(parameter.low, int),
            f"{where} is a range of fractions; expected whole numbers.",
        )
    return parameters


def _read_early_terminate(entry: Any, file: str) -> dict[str, Any] | None:
    if entry is None:
        return None
    where = f"{file}: early_terminate"
    require(
        isinstance(entry, dict) and entry.get("type") == "hyperband",
        f"{where} is {entry!r}; expected {{type: hyperband, min_iter: 1}}.",
    )
    unknown = set(entry) - {"type", "min_iter", "max_iter", "s", "eta"}
    require(
        not unknown,
        f"{where} has {', '.join(sorted(map(str, unknown)))}; expected min_iter, or max_iter and "
        "s, and eta.",
    )
    require(
        "min_iter" in entry or {"max_iter", "s"} <= set(entry),
        f"{where} has neither min_iter nor both max_iter and s.",
    )
    for name, least in (("min_iter", 1), ("max_iter", 2), ("s", 1), ("eta", 2)):
        number = entry.get(name, least)
        require(
            isinstance(number, int) and number >= least,
            f"{where}.{name} is {number!r}; expected {least} or more.",
        )
    return entry


def _read_command(content: dict[str, Any], file: str) -> list[str]:
    """Returns the arguments of `zsl.fit`; logging to W&B is not among them."""
    command = content.get("command")
    require(
        content.get("program") == "zsl.fit" and isinstance(command, list),
        f"{file}: program is {content.get('program')!r} and command {command!r}; expected zsl.fit "
        f"and {COMMAND}.",
    )
    words = [str(word) for word in content["command"]]
    start = words.index("${program}") + 1 if "${program}" in words else 0
    require(
        words[max(start - 2, 0) : start] == ["-m", "${program}"] and words[-1] == "${args}",
        f"{file}: command is {words}; expected one like {COMMAND}.",
    )
    args = words[start:-1]
    for word in args:
        require("${" not in word, f"{file}: command has {word}, which can't be filled in here.")
    return [word for word in _one_word_configs(args) if word != f"--config={WANDB_CONFIG}"]
