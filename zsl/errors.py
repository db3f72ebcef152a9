"""The one exception for input that can't be used, and what its messages are made with."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches


class InputError(Exception):
    """Something the user gave can't be used.

    The message is one sentence for that user: what was found, where, what was expected, what to
    do. The commands print it without a traceback and exit with code 2.
    """


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
    matches = get_close_matches(name, [str(c) for c in candidates], n=3, cutoff=cutoff)
    return f" Did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""


def refuse_repeated(
    values: Iterable[str], where: Callable[[int], str], remedy: str = "keep one of them"
) -> None:
    """Raises an `InputError` for the first value that is there twice.

    Args:
        values: Names of some kind.
        where: Says where the value at an index, counted from 0, was found: `tags.csv, line 2`.
        remedy: What to do, for the message.
    """
    first: dict[str, int] = {}
    for index, value in enumerate(values):
        if value in first:
            raise InputError(
                f"{where(index)}: {value!r} is there twice, first at {where(first[value])}; "
                f"{remedy}."
            )
        first[value] = index


def reason_of(error: BaseException, line: int = 0) -> str:
    """Returns the first line of an exception's text (or another one), or its type without text."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[line].strip()
