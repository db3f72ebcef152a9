"""Messages of jsonargparse as one sentence."""

from __future__ import annotations

import inspect
import re

import pytorch_lightning as pl

from zsl.commands.configs import config_names
from zsl.data import MultiLabelDataModule
from zsl.errors import did_you_mean
from zsl.labels import LabelEncoder
from zsl.tasks.zero_shot import ZeroShotTask


def _explain(message: str) -> str:
    """Turns jsonargparse's message on many lines into one sentence, with near matches."""
    text = " ".join(message.split())
    section = re.search(r'Parser key "([^"]+)"', text)
    unknown = (
        re.search(r"unrecognized arguments: --([^ =]+)", text)
        or re.search(r"does not accept option '([^']+)'", text)
        or re.search(r"Option '([^']+)' is not accepted", text)
    )
    if unknown:
        key = unknown[1].replace(".init_args", "")
        key = f"{section[1]}.{key}" if section else key
        return f"There is no argument {key}.{did_you_mean(key, _known_arguments())}"
    if section and (inner := re.search(r"given class_path '[^']+': (Parser key \".+)", text)):
        # The rest is about the class, this about its argument.
        own = inner[1].split(" - Expected a <class 'NoneType'> Given value type: <class 'json")[0]
        return _explain(own.replace('Parser key "', f'Parser key "{section[1]}.', 1))
    if section and (choice := re.search(r"Literal\[(.+?)\]\. Got value: (.*)", text)):
        return f"{section[1]} is {choice[2]!r}; expected {choice[1].replace(chr(39), '')}."
    if missing := re.search(r"arguments are required: ([\w.]+)", text):
        key = f"{section[1]}.{missing[1]}" if section else missing[1]
        return f"{key} is not set; add --{key} VALUE, or a --config that sets it."
    if "MultiLabelDataModule is abstract" in text:
        names = [name for name in config_names() if "/" not in name]
        return f"No data is chosen; add a --config, one of {', '.join(names)}."
    if problem := re.search(r"given class_path '([^']+)': (.+?)(?: - | Given value|$)", text):
        return f"{problem[1]} can't be made ({problem[2]}); is its package installed?"
    if section and (reason := re.search(r"Errors: - (.+?)(?: - Expected| Given value|$)", text)):
        expected = re.search(r"Subtypes: \[(.+?)\] Errors", text)
        if expected and reason[1].startswith("Expected"):
            value = re.search(r"Given value: (.*)", text)
            types = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", expected[1])
            types = re.sub(r"typing\.Literal\[([^]]+)\]", lambda m: m[1].replace("'", ""), types)
            types = types.replace("NoneType", "null").replace(", ", " or ")
            return f"{section[1]} is {value[1] if value else 'wrong'!r}; expected {types}."
        return f"{section[1]}: {reason[1]}."
    if wrong := re.search(r"Expected an? <class '(\w+)'>. Got value: (.*)", text):
        return f"{section[1] if section else 'A value'} is {wrong[2]!r}; expected {wrong[1]}."
    return text


def _known_arguments() -> set[str]:
    kinds: list[tuple[str, type]] = [("trainer", pl.Trainer), ("model", ZeroShotTask)]
    kinds += [("model.encoder", kind) for kind in LabelEncoder.__subclasses__()]
    kinds += [("data", kind) for kind in MultiLabelDataModule.__subclasses__()]
    return {
        f"{section}.{name}"
        for section, kind in kinds
        for name in inspect.signature(kind).parameters
    }
