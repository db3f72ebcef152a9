"""The one exception for input that can't be used, and what its messages are made with."""

import os
import sys
import unicodedata
from collections.abc import Callable, Collection, Iterable
from difflib import get_close_matches


class InputError(Exception):
    """Something the user gave can't be used.

    The message is one sentence for that user: what was found, where, what was expected, what to
    do. The commands print it without a traceback and exit with code 2. What makes it longer than a
    few lines is cut out of its middle.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(shorten(message, 1500)))


def program(command: str) -> str:
    """How the user calls a command such as `prepare table`: by `zsl`, or by `python -m zsl.`."""
    is_script = os.path.basename(sys.argv[0]) == "zsl"
    return f"zsl {command}" if is_script else f"python -m zsl.{command}"


def printable(text: str) -> str:
    r"""Escapes what a terminal may obey or can't show; names and paths may hold anything.

    These are control characters, line ends, and marks that turn the direction of writing; spaces
    of all widths, and the joiners that Persian and emoji need, stay.

    >>> print(printable(chr(27) + "[31m dog"))
    \x1b[31m dog
    """
    if text.isprintable():
        return text
    return "".join(c if _is_shown(c) else c.encode("unicode_escape").decode() for c in text)


def _is_shown(character: str) -> bool:
    is_joiner = character in "\u200c\u200d"
    return character.isprintable() or is_joiner or unicodedata.category(character) == "Zs"


def shorten(text: str, length: int) -> str:
    """Cuts the middle out of a text that has more than `length` characters."""
    if len(text) <= length:
        return text
    return f"{text[: length * 2 // 3]} … {text[len(text) - length // 3 :]}"


def listing(values: Collection[str]) -> str:
    """Quotes the first 20 values: `'a', 'b' and 980 more`, or `nothing`."""
    quoted = [repr(shorten(value, 60)) for value in list(values)[:20]]
    more = f" and {len(values) - 20:,} more" if len(values) > 20 else ""
    return (", ".join(quoted) or "nothing") + more


def require(condition: bool, message: str) -> None:
    """Raises an `InputError` with the message unless the condition holds."""
    if not condition:
        raise InputError(message)


def did_you_mean(name: str, candidates: Iterable[str], cutoff: float = 0.6) -> str:
    """Returns " Did you mean 'a' or 'b'?" for names near to `name`, or an empty string.

    Args:
        name: What was found.
        candidates: Names that it could be.
        cutoff: Similarity that is near, from 0 (anything) to 1.
    """
    if len(name) > 100:
        return ""  # It would take seconds, and what is not a name is near to none.
    matches = get_close_matches(name, [str(c) for c in candidates], n=3, cutoff=cutoff)
    return f" Did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""


def refuse_repeated(
    values: Iterable[str], where: Callable[[int], str], remedy: str = "keep one of them"
) -> None:
    """Raises an `InputError` for values that are there twice.

    Args:
        values: Names of some kind.
        where: Says where the value at an index, counted from 0, was found: `tags.csv, line 2`.
        remedy: What to do, for the message.
    """
    first: dict[str, int] = {}
    again: dict[str, int] = {}
    for index, value in enumerate(values):
        if first.setdefault(value, index) != index:
            again.setdefault(value, index)
    if again:
        value, index = next(iter(again.items()))
        raise InputError(
            f"{where(index)}: {value!r} is there twice, first at {where(first[value])}; {remedy}."
            + others(again)
        )


def others(values: Collection[str]) -> str:
    """Returns a sentence that lists the values after the first, whose error it follows."""
    rest = list(values)[1:]
    return f" So it is with {len(rest):,} more: {listing(rest)}." if rest else ""


def reason_of(error: BaseException, line: int = 0) -> str:
    """Returns the first line of an exception's text (or another one), or its type without text."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[line].strip()
