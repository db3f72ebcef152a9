"""Configs by name, those that come with the package among them."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import yaml

from zsl.errors import InputError, did_you_mean, require

Kind = Literal["config", "sweep file"]
CONFIG_FLAGS = ("-c", "--config")
_PACKAGE = Path(__file__).parents[1]


def shipped_configs() -> Path:
    """The folder of the configs that come with the package, installed or in a checkout."""
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def shipped_names(kind: Kind = "config") -> list[str]:
    """Names of the shipped files of a kind, as `--config` and `zsl.sweep` take them."""
    folder = shipped_configs()
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml"))
    return [name for name in names if name.startswith("sweeps/") == (kind == "sweep file")]


def find_config(name: str, kind: Kind = "config") -> str:
    """Finds a file of a kind in the working directory, else among the shipped ones.

    Raises:
        InputError: It is in neither; near matches are in the message.
    """
    if Path(name).is_file():
        return name
    shipped = shipped_configs() / name
    if shipped.is_file():
        return str(shipped)
    shipped_ones = shipped_names(kind)
    beside = map(str, Path(name).parent.glob("*.yaml"))
    near = did_you_mean(name, [*shipped_ones, *beside])
    advice = near or f" These are {', '.join(shipped_ones)}."
    raise InputError(
        f"The {kind} {name!r} is neither a file nor one of the shipped {kind}s.{advice}"
    )


def resolve_configs(args: Sequence[str]) -> list[str]:
    """Replaces the value of every `--config` by the path of that config.

    Raises:
        InputError: There is no such config.
    """
    resolved: list[str] = []
    for position, argument in enumerate(args):
        flag, equals, value = argument.partition("=")
        if flag in CONFIG_FLAGS and equals:
            resolved.append(f"{flag}={find_config(value)}")
        elif position and args[position - 1] in CONFIG_FLAGS:
            resolved.append(find_config(argument))
        else:
            resolved.append(argument)
    return resolved


def named_values(args: Sequence[str], *flags: str) -> list[tuple[str, str]]:
    """Returns flags and their values, in their order.

    >>> named_values(["-c", "a.yaml", "--task=my.Task", "--data.root", "b"], "-c", "--task")
    [('-c', 'a.yaml'), ('--task', 'my.Task')]
    >>> named_values([], "-c")
    []
    """
    pairs = []
    for argument, following in zip_longest(args, args[1:]):
        flag, equals, text = argument.partition("=")
        value = text if equals else following
        if flag in flags and value is not None:  # The parser will say what the last one lacks.
            pairs.append((flag, value))
    return pairs


def read_config(path: str) -> Any:
    """Reads a config as plain values; jsonargparse would not name one that is not YAML.

    Raises:
        InputError: It is not YAML, or has no settings.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).replace('in "<unicode string>", ', "in ").split())
        raise InputError(f"{path} is not YAML: {reason}.") from error
    require(
        content is None or isinstance(content, dict),
        f"{path} is not a config: expected settings by name, as shapes.yaml has them.",
    )
    return content or {}


def yaml_value(argument: str) -> str:
    """Rewrites None, a list or a dict in Python's notation, as help or W&B's agent has it.

    >>> [yaml_value(argument) for argument in ("--a=None", "None", "--b={'c': None}")]
    ['--a=null', 'null', '--b={"c": null}']
    """
    if argument == "None":
        return "null"
    flag, equals, text = argument.partition("=")
    if not equals or (text != "None" and not text.startswith(("{", "["))):
        return argument
    try:
        return f"{flag}={json.dumps(ast.literal_eval(text))}"
    except (ValueError, SyntaxError, TypeError):
        return argument  # YAML's own notation.
