"""Messages of jsonargparse as one sentence."""

from __future__ import annotations

import re
from argparse import ArgumentError
from collections.abc import Collection, Sequence
from inspect import isabstract
from pydoc import locate

from jsonargparse import ArgumentParser, Namespace

from zsl.commands.configs import yaml_value
from zsl.errors import InputError, did_you_mean, program

_QUOTE = "'"
_KEY = re.compile(r'Parser key "([^"]+)"')
_OF_ARGUMENT = re.compile(r"^argument (?:-\w/)?--([\w.]+): (.*)")
_UNKNOWN = re.compile(
    r"unrecognized arguments: -+([\w.]+)"
    r"|Group '([\w.]+)' does not accept option '([\w.]+)'"
    r"|Option '([\w.]+)' is not accepted"
)
_NO_CLASS = re.compile(
    r"Expected a dot import path string: (.*?)(?: - |$)|module '\S+' has no attribute"
)
_WRONG = re.compile(
    r"Subtypes: \[(.+?)\] Errors: - Expected .* Given value: (.*)"
    r"|Expected an? (.+?)\. Got value: (.*)"
)


def parse_args(parser: ArgumentParser, args: Sequence[str], stray: str = "") -> Namespace:
    """Parses the arguments of a command.

    Args:
        parser: Raises what is wrong.
        args: The arguments.
        stray: The argument that a word without one is likely meant for.

    Raises:
        InputError: An argument is unknown or lacking, or its value is of another type.
    """
    try:
        return parser.parse_args([yaml_value(argument) for argument in args])
    except ArgumentError as error:
        known = re.findall(r"--([a-z][\w.]*\w)", parser.format_help())
        raise InputError(explain(str(error), known, stray)) from error


def refuse_near(args: Sequence[str], known: Collection[str]) -> None:
    """Refuses what is nearly one of these arguments, where the others are those of `zsl.fit`."""
    for argument in args:
        name = argument.partition("=")[0].removeprefix("--")
        if argument.startswith("--") and (near := did_you_mean(name, known, cutoff=0.8)):
            raise InputError(f"There is no argument {name}.{near}")


def explain(message: str, known: Collection[str] = (), stray: str = "") -> str:
    """Turns a message of jsonargparse, which has many lines, into one sentence.

    Keep it simple: it knows the common mistakes and leaves the words of any other message.

    >>> print(explain("unrecognized arguments: --model.hed.dropout=1", ["model.head.dropout"]))
    There is no argument model.hed.dropout. Did you mean 'model.head.dropout'?
    >>> print(explain('''Parser key "model.head":
    ...   Problem with given class_path 'zsl.models.ConSEConfig':
    ...     Option 'num_combine' is not accepted'''))
    There is no argument model.head.num_combine. Did you mean 'model.head.num_combined'?
    >>> print(explain("unrecognized arguments: --model.clip=1", ["model.loss", "model.loss.clip"]))
    There is no argument model.clip. Did you mean 'model.loss.clip'?
    >>> print(explain("unrecognized arguments: photos", stray="root"))
    'photos' stands alone, without the name of an argument. Did you mean --root photos?
    >>> print(explain("argument --labels: expected one argument"))
    --labels has no value; add one.
    >>> print(explain("argument --accelerator: invalid choice: 'tpu' (choose from 'gpu', 'cpu')"))
    --accelerator is 'tpu'; expected gpu or cpu.
    >>> print(explain("the following arguments are required: root", ["root"]))
    --root is not set; add --root VALUE.
    >>> print(explain('''Parser key "seed_everything":
    ...   Expected a <class 'int'>. Got value: many'''))
    --seed_everything is 'many'; expected int.
    >>> print(explain('''Parser key "model.head":
    ...   Problem with given class_path 'zsl.models.MLDecoderConfig':
    ...     Parser key "num_groups":
    ...       Does not validate against any of the Union subtypes
    ...       Subtypes: [<class 'int'>, <class 'NoneType'>]
    ...       Errors:
    ...         - Expected a <class 'int'>
    ...         - Expected a <class 'NoneType'>
    ...       Given value type: <class 'str'>
    ...       Given value: many'''))
    --model.head.num_groups is 'many'; expected int or null.
    >>> print(explain('''Parser key "model.optimization.optimizer":
    ...   Expected a typing.Literal['adamw', 'adam']. Got value: sgd'''))
    --model.optimization.optimizer is 'sgd'; expected adamw or adam.
    >>> print(explain('''Parser key "data":
    ...   Problem with given class_path 'zsl.data.TableDataModule':
    ...     the following arguments are required: root''', ["config"]))
    --data.root is not set; add --data.root VALUE, or a --config that sets it.
    >>> print(explain('''Parser key "data":
    ...   Problem with given class_path 'zsl.data.Shapes':
    ...     module 'zsl.data' has no attribute 'Shapes' ''', ["zsl.data.ShapesDataModule"]))
    There is no class zsl.data.Shapes. Did you mean 'zsl.data.ShapesDataModule'?
    >>> print(explain('''Parser key "model.head":
    ...   - Expected a path but BilinearConf either not accessible or invalid
    ...   - Expected a dot import path string: BilinearConf''', ["zsl.models.BilinearConfig"]))
    There is no class BilinearConf. Did you mean 'zsl.models.BilinearConfig'?
    >>> print(explain('''Parser key "model.backbone":
    ...   - Expected a path but resnet50 either not accessible or invalid
    ...   - Expected a dot import path string: resnet50''', ["model.backbone.name"]))
    There is no class resnet50. Did you mean --model.backbone.name resnet50?
    >>> print(explain('''Parser key "model.loss":
    ...   - Expected a path but zsl.losses.Loss either not accessible or invalid
    ...   - Expected an instantiatable class, but zsl.losses.Loss is abstract'''))
    --model.loss is zsl.losses.Loss, which lacks __call__; define that, or name another class.
    >>> print(explain('''Parser key "model.head":
    ...   - Expected a path but zsl.losses.RankingLoss either not accessible or invalid
    ...   - Import path zsl.losses.RankingLoss does not correspond to a subclass of HeadConfig'''))
    --model.head is zsl.losses.RankingLoss, which is not a HeadConfig; name one.
    >>> print(explain('''Parser key "data":
    ...   - Import path zsl.losses.Loss does not correspond to a subclass of HeadConfig''',
    ...   ["zsl.models.HeadConfig", "zsl.models.CLIPConfig", "zsl.data.VOCDataModule"]))
    --data is zsl.losses.Loss, which is not a HeadConfig; name zsl.models.CLIPConfig.

    Args:
        message: What jsonargparse raised.
        known: Names of arguments and paths of classes, for near matches.
        stray: The argument that a word without one is likely meant for.
    """
    # What follows a class path is about the arguments of that class.
    parts = re.split(r"Problem with given class_path '([^']+)': ", " ".join(message.split()))
    *outer, text = parts[::2]
    class_path = parts[-2] if outer else ""
    keys = [key for part in (*outer, text) for key in _KEY.findall(part)[-1:]]
    prefix = "".join(f"{key}." for key in keys[: len(outer)])
    key = ".".join(keys)
    known = {*known}
    classes = {n for n in known if n.rpartition(".")[2][:1].isupper()}
    if word := re.match(r"unrecognized arguments: ([^-\s]\S*)", text):
        advice = f" Did you mean --{stray} {word[1]}?" if stray else " See --help for these."
        return f"{word[1]!r} stands alone, without the name of an argument.{advice}"
    if of_argument := _OF_ARGUMENT.match(text):
        return _value_message(*of_argument.groups())
    if unknown := _UNKNOWN.search(text):
        name = prefix + ".".join(part for part in unknown.groups() if part)
        # Within a class those of other classes are of no use.
        names = [n for n in known - classes if not prefix or not n.startswith(prefix)]
        names += [prefix + argument for argument in _argument_names(class_path)]
        return f"There is no argument {name}.{_near(name, names)}"
    if missing := re.search(r"arguments are required: -*([\w.]+)", text):
        name = prefix + missing[1]
        if not prefix and name not in known:
            return f"There are no {name}; name some, as --help shows."
        config = ", or a --config that sets it" if "config" in known else ""
        return f"--{name} is not set; add --{name} VALUE{config}."
    if no_class := _NO_CLASS.search(text):
        name = no_class[1] or class_path
        advice = _near(name, classes)
        if not advice and f"{key}.name" in known:
            advice = f" Did you mean --{key}.name {name}?"
        advice = advice or f" Name one of {program('fit')} --help_all."
        return f"There is no class {name}.{advice}"
    if abstract := re.search(r"but (\S+) is abstract", text):
        lacks = ", ".join(sorted(locate(abstract[1]).__abstractmethods__))  # type: ignore[attr-defined]
        return f"--{key} is {abstract[1]}, which lacks {lacks}; define that, or name another class."
    if other_class := re.search(r"Import path (\S+) .*subclass of (\w+)", text):
        own = sorted(n for n in classes if _makes_a(other_class[2], n))
        advice = " or ".join([", ".join(own[:-1]), *own[-1:]]).removeprefix(" or ") or "one"
        return f"--{key} is {other_class[1]}, which is not a {other_class[2]}; name {advice}."
    if nothing := re.search(r"Not a valid subclass of (\w+)", text):
        return f"--{key} names no {nothing[1]}; add a --config that does, or --{key} CLASS_PATH."
    if wrong := _WRONG.search(text):
        types, value = (part for part in wrong.groups() if part is not None)
        return f"--{key} is {value!r}; expected {_type_names(types)}."
    if class_path:
        reason = text.split(" - Expected ")[0]
        return (
            f"{class_path} can't be made ({reason}); is its package installed, or its folder on "
            "PYTHONPATH?"
        )
    return text


def _value_message(name: str, problem: str) -> str:
    """Says what is wrong with the value of an argument, as argparse has it."""
    if problem.endswith("one argument"):
        return f"--{name} has no value; add one."
    if choice := re.match(r"invalid choice: (.*) \(choose from (.*)\)", problem):
        return f"--{name} is {choice[1]}; expected {_type_names(choice[2].replace(_QUOTE, ''))}."
    if value := re.match(r"invalid (\w+) value: (.*)", problem):
        return f"--{name} is {value[2]}; expected {value[1]}."
    return f"--{name}: {problem}."


def _near(name: str, names: Collection[str]) -> str:
    """Near matches: first of all those that end alike, as a field that moved into a group."""
    last = name.rpartition(".")[2].lower()
    alike = [n for n in names if n != name and n.rpartition(".")[2].lower().startswith(last)]
    return did_you_mean(name, alike, cutoff=0) or did_you_mean(name, {*names} - {name})


def _makes_a(base: str, path: str) -> bool:
    """Whether the path is that of a class of a room, not abstract, with a base of this name."""
    found = locate(path) if path.count(".") == 2 else None
    return isinstance(found, type) and not isabstract(found) and base in map(_name, found.__mro__)


def _name(kind: type) -> str:
    return kind.__name__


def _argument_names(path: str) -> list[str]:
    """Names of the arguments of a class, those of its groups as `group.name`."""
    if not path:
        return []
    parser = ArgumentParser()
    parser.add_class_arguments(locate(path))
    return list(parser.get_defaults().keys())


def _type_names(types: str) -> str:
    """Returns e.g. `int or null` for `<class 'int'>, <class 'NoneType'>`."""
    names = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", types).replace("NoneType", "null")
    names = re.sub(r"typing\.Literal\[([^]]+)\]", lambda found: found[1].replace("'", ""), names)
    return " or ".join(names.rsplit(", ", 1))
