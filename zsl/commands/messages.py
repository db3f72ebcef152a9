"""Messages of jsonargparse as one sentence."""

from __future__ import annotations

import re
from argparse import ArgumentError
from collections.abc import Collection, Sequence
from inspect import isabstract
from pydoc import locate
from typing import NamedTuple, Self

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


class _Said(NamedTuple):
    """A message of jsonargparse, taken apart."""

    text: str
    """What is wrong, on one line."""
    key: str
    """The argument that it is about, e.g. `model.head.num_groups`."""
    prefix: str
    """Begins the names of the arguments of `class_path`, e.g. `model.head.`; or empty."""
    class_path: str
    """The class whose arguments it is about; empty where it is about those of the command."""
    names: set[str]
    """Arguments that there are."""
    classes: set[str]
    """Paths of classes that could be named."""
    stray: str
    """The argument that a word without one is likely meant for."""

    @classmethod
    def take_apart(cls, message: str, known: Collection[str], stray: str) -> Self:
        """Takes what `explain` takes."""
        # What follows a class path is about the arguments of that class.
        parts = re.split(r"Problem with given class_path '([^']+)': ", " ".join(message.split()))
        *outer, text = parts[::2]
        keys = [key for part in (*outer, text) for key in _KEY.findall(part)[-1:]]
        prefix = "".join(f"{key}." for key in keys[: len(outer)])
        classes = {name for name in known if name.rpartition(".")[2][:1].isupper()}
        class_path = parts[-2] if outer else ""
        return cls(text, ".".join(keys), prefix, class_path, {*known} - classes, classes, stray)


def explain(message: str, known: Collection[str] = (), stray: str = "") -> str:
    """Turns a message of jsonargparse, which has many lines, into one sentence.

    Keep it simple: it knows the common mistakes and leaves the words of any other message.

    >>> print(explain("unrecognized arguments: --model.hed.dropout=1", ["model.head.dropout"]))
    There is no argument model.hed.dropout. Did you mean 'model.head.dropout'?

    Args:
        message: What jsonargparse raised.
        known: Names of arguments and paths of classes, for near matches.
        stray: The argument that a word without one is likely meant for.
    """
    said = _Said.take_apart(message, known, stray)
    for tell in (
        _stray_word,
        _wrong_argument,
        _unknown_argument,
        _missing_argument,
        _unknown_class,
        _abstract_class,
        _other_class,
        _no_class,
        _wrong_value,
        _unmade_class,
    ):
        if sentence := tell(said):
            return sentence
    return said.text


def _stray_word(said: _Said) -> str | None:
    """A word that belongs to no argument.

    >>> print(explain("unrecognized arguments: photos", stray="root"))
    'photos' stands alone, without the name of an argument. Did you mean --root photos?
    """
    word = re.match(r"unrecognized arguments: ([^-\s]\S*)", said.text)
    if word is None:
        return None
    advice = f" Did you mean --{said.stray} {word[1]}?" if said.stray else " See --help for these."
    return f"{word[1]!r} stands alone, without the name of an argument.{advice}"


def _wrong_argument(said: _Said) -> str | None:
    """What argparse has against the value of an argument.

    >>> print(explain("argument --labels: expected one argument"))
    --labels has no value; add one.
    >>> print(explain("argument --accelerator: invalid choice: 'tpu' (choose from 'gpu', 'cpu')"))
    --accelerator is 'tpu'; expected gpu or cpu.
    """
    of_argument = _OF_ARGUMENT.match(said.text)
    if of_argument is None:
        return None
    name, problem = of_argument.groups()
    if problem.endswith("one argument"):
        return f"--{name} has no value; add one."
    if choice := re.match(r"invalid choice: (.*) \(choose from (.*)\)", problem):
        return f"--{name} is {choice[1]}; expected {_type_names(choice[2].replace(_QUOTE, ''))}."
    if value := re.match(r"invalid (\w+) value: (.*)", problem):
        return f"--{name} is {value[2]}; expected {value[1]}."
    return f"--{name}: {problem}."


def _unknown_argument(said: _Said) -> str | None:
    """An argument that there is not, of the command or of a class.

    >>> print(explain('''Parser key "model.head":
    ...   Problem with given class_path 'zsl.models.ConSEConfig':
    ...     Option 'num_combine' is not accepted'''))
    There is no argument model.head.num_combine. Did you mean 'model.head.num_combined'?
    >>> print(explain("unrecognized arguments: --model.clip=1", ["model.loss", "model.loss.clip"]))
    There is no argument model.clip. Did you mean 'model.loss.clip'?
    """
    unknown = _UNKNOWN.search(said.text)
    if unknown is None:
        return None
    prefix = said.prefix
    name = prefix + ".".join(part for part in unknown.groups() if part)
    # Within a class those of other classes are of no use.
    names = [own for own in said.names if not prefix or not own.startswith(prefix)]
    names += [prefix + argument for argument in _argument_names(said.class_path)]
    return f"There is no argument {name}.{_near(name, names)}"


def _missing_argument(said: _Said) -> str | None:
    """An argument that must be given.

    >>> print(explain("the following arguments are required: root", ["root"]))
    --root is not set; add --root VALUE.
    >>> print(explain('''Parser key "data":
    ...   Problem with given class_path 'zsl.data.TableDataModule':
    ...     the following arguments are required: root''', ["config"]))
    --data.root is not set; add --data.root VALUE, or a --config that sets it.
    """
    missing = re.search(r"arguments are required: -*([\w.]+)", said.text)
    if missing is None:
        return None
    name = said.prefix + missing[1]
    if not said.prefix and name not in said.names:
        return f"There are no {name}; name some, as --help shows."
    config = ", or a --config that sets it" if "config" in said.names else ""
    return f"--{name} is not set; add --{name} VALUE{config}."


def _unknown_class(said: _Said) -> str | None:
    """A class that there is not, or a word in the place of one.

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
    """
    unknown = _NO_CLASS.search(said.text)
    if unknown is None:
        return None
    name = unknown[1] or said.class_path
    advice = _near(name, said.classes)
    if not advice and f"{said.key}.name" in said.names:
        advice = f" Did you mean --{said.key}.name {name}?"
    advice = advice or f" Name one of {program('fit')} --help_all."
    return f"There is no class {name}.{advice}"


def _abstract_class(said: _Said) -> str | None:
    """A class that lacks a method.

    >>> print(explain('''Parser key "model.loss":
    ...   - Expected a path but zsl.losses.Loss either not accessible or invalid
    ...   - Expected an instantiatable class, but zsl.losses.Loss is abstract'''))
    --model.loss is zsl.losses.Loss, which lacks __call__; define that, or name another class.
    """
    abstract = re.search(r"but (\S+) is abstract", said.text)
    if abstract is None:
        return None
    lacks = ", ".join(sorted(locate(abstract[1]).__abstractmethods__))  # type: ignore[attr-defined]
    return (
        f"--{said.key} is {abstract[1]}, which lacks {lacks}; define that, or name another class."
    )


def _other_class(said: _Said) -> str | None:
    """A class of another kind than is needed.

    >>> print(explain('''Parser key "model.head":
    ...   - Expected a path but zsl.losses.RankingLoss either not accessible or invalid
    ...   - Import path zsl.losses.RankingLoss does not correspond to a subclass of HeadConfig'''))
    --model.head is zsl.losses.RankingLoss, which is not a HeadConfig; name one.
    >>> print(explain('''Parser key "data":
    ...   - Import path zsl.losses.Loss does not correspond to a subclass of HeadConfig''',
    ...   ["zsl.models.HeadConfig", "zsl.models.CLIPConfig", "zsl.data.VOCDataModule"]))
    --data is zsl.losses.Loss, which is not a HeadConfig; name zsl.models.CLIPConfig.
    """
    other = re.search(r"Import path (\S+) .*subclass of (\w+)", said.text)
    if other is None:
        return None
    own = sorted(name for name in said.classes if _makes_a(other[2], name))
    advice = " or ".join([", ".join(own[:-1]), *own[-1:]]).removeprefix(" or ") or "one"
    return f"--{said.key} is {other[1]}, which is not a {other[2]}; name {advice}."


def _no_class(said: _Said) -> str | None:
    """No class where one is needed."""
    nothing = re.search(r"Not a valid subclass of (\w+)", said.text)
    if nothing is None:
        return None
    key = said.key
    return f"--{key} names no {nothing[1]}; add a --config that does, or --{key} CLASS_PATH."


def _wrong_value(said: _Said) -> str | None:
    """A value of another type.

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
    """
    wrong = _WRONG.search(said.text)
    if wrong is None:
        return None
    types, value = (part for part in wrong.groups() if part is not None)
    return f"--{said.key} is {value!r}; expected {_type_names(types)}."


def _unmade_class(said: _Said) -> str | None:
    """A class that can't be imported, or refuses its arguments."""
    if not said.class_path:
        return None
    reason = said.text.split(" - Expected ")[0]
    return (
        f"{said.class_path} can't be made ({reason}); is its package installed, or its folder on "
        "PYTHONPATH?"
    )


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
