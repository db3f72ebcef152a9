"""The one exception for input that can't be used, and help with misspelt names."""

from collections.abc import Iterable
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


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Returns " Did you mean 'a' or 'b'?" for names near to `name`, or an empty string."""
    matches = get_close_matches(name, [str(candidate) for candidate in candidates], n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""
