"""Parts of a model by class path: as plain values in a checkpoint, and made again from these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from importlib import import_module
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


def as_plain_values(value: Any) -> Any:
    """Returns a value in which dataclasses, also those in dictionaries, are dictionaries."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return {name: as_plain_values(element) for name, element in value.items()}
    return value


def describe_part(part: object) -> dict[str, Any]:
    """Returns `class_path` and `init_args` of a dataclass instance, plain values.

    Raises:
        InputError: It is not a dataclass, so its arguments are not known.
    """
    require(
        is_dataclass(part),
        f"{type(part).__name__} is not a dataclass, so a checkpoint can't record its arguments; "
        "make it one (@dataclass(frozen=True)).",
    )
    return {"class_path": class_path(type(part)), "init_args": as_plain_values(part)}


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
