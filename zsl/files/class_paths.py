"""Parts of a model by class path: as plain values in a checkpoint, and made again from these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from zsl.errors import InputError, require

_OWN = "zsl"


def class_path(kind: type) -> str:
    """Returns where a class can be imported from: the shortest package that exports it.

    Args:
        kind: E.g. `zsl.models.heads.MLDecoderConfig`, which is `zsl.models.MLDecoderConfig`.
    """
    parts = kind.__module__.split(".")
    for length in range(1, len(parts)):
        package = ".".join(parts[:length])
        if getattr(import_module(package), kind.__name__, None) is kind:
            return f"{package}.{kind.__name__}"
    return f"{kind.__module__}.{kind.__qualname__}"


def as_plain_values(arguments: Any, owner: str) -> Any:
    """Returns arguments as a checkpoint can record them: dataclasses are dictionaries, paths texts.

    Args:
        arguments: Values by name.
        owner: Whose arguments they are, for the message.

    Raises:
        InputError: One can't be recorded; nobody should learn that after a long training.
    """
    if is_dataclass(arguments) and not isinstance(arguments, type):
        arguments = asdict(arguments)
    if isinstance(arguments, Mapping):
        return {k: as_plain_values(value, f"{owner}.{k}") for k, value in arguments.items()}
    if isinstance(arguments, list | tuple):
        values = [as_plain_values(value, owner) for value in arguments]
        return values if isinstance(arguments, list) else tuple(values)
    if isinstance(arguments, Path):
        return str(arguments)
    require(
        arguments is None or type(arguments) in (bool, int, float, str),
        f"{owner} is of the type {type(arguments).__name__}, which a checkpoint can't record; "
        "expected None, a bool, a number, a text, or lists and dictionaries of these.",
    )
    return arguments


def describe_part(part: Any) -> dict[str, Any]:
    """Returns `class_path` and `init_args` of a dataclass instance, plain values.

    Raises:
        InputError: It is not a dataclass, so its arguments are not known, or one of them is not a
            plain value.
    """
    owner = type(part).__name__
    require(
        is_dataclass(part),
        f"{owner} is not a dataclass, so a checkpoint can't record its arguments; "
        "make it one (@dataclass(frozen=True)).",
    )
    # A part is made again from its arguments as they are: no dictionary becomes a dataclass.
    arguments = {field.name: getattr(part, field.name) for field in fields(part) if field.init}
    for name, value in arguments.items():
        require(
            not is_dataclass(value),
            f"{owner}.{name} is a dataclass itself; give {owner} the fields of it instead.",
        )
    return {"class_path": class_path(type(part)), "init_args": as_plain_values(arguments, owner)}


def restore_part(contents: Mapping[str, Any], base: type, trust_code: bool) -> Any:
    """Makes a part again from what `describe_part` returned.

    Args:
        contents: `class_path` and `init_args`.
        base: The class that the part is an instance of.
        trust_code: Whether modules outside of zsl may be imported, which executes them.

    Raises:
        InputError: The class is outside of zsl and not trusted, can't be imported, or is not a
            `base`.
    """
    return load_class(contents["class_path"], base, trust_code)(**contents["init_args"])


def load_class(path: str, base: type, trust_code: bool) -> Any:
    """Imports a class that a checkpoint names.

    Raises:
        InputError: As `restore_part`.
    """
    check_is_trusted(path, trust_code)
    module, _, name = path.rpartition(".")
    try:
        kind = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"The class {path!r}, which the checkpoint was made with, can't be imported ({error}); "
            "add the folder of its module to PYTHONPATH, or install the version it belongs to."
        ) from error
    require(
        isinstance(kind, type) and issubclass(kind, base),
        f"{path!r}, which the checkpoint names, is not a {base.__name__}.",
    )
    return kind


def check_all_are_trusted(contents: Any, trust_code: bool) -> None:
    """Refuses what names a class outside of zsl at any depth, unless trusted; imports nothing.

    Args:
        contents: Plain values that jsonargparse will make objects of.
        trust_code: Whether modules outside of zsl may be imported.

    Raises:
        InputError: It names one.
    """
    if isinstance(contents, Mapping):
        if "class_path" in contents:
            check_is_trusted(str(contents["class_path"]), trust_code)
        contents = list(contents.values())
    for element in contents if isinstance(contents, list | tuple) else ():
        check_all_are_trusted(element, trust_code)


def check_is_trusted(path: str, trust_code: bool) -> None:
    """Refuses a class outside of zsl unless its code is trusted; imports nothing.

    Raises:
        InputError: The class is outside of zsl, and its code is not trusted.
    """
    require(
        trust_code or path.split(".")[0] == _OWN,
        f"The checkpoint names the class {path!r}, which is not part of zsl: importing it would "
        "execute its module; if you trust it, allow that (--trust_code true, in Python "
        "trust_code=True).",
    )
