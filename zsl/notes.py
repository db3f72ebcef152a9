"""What is said beside results and errors; `--quiet` leaves it out."""

import logging
import os
import sys
import warnings

from zsl.errors import printable

_QUIET = "ZSL_QUIET"
"""Set in the environment, for the processes that a command starts."""


def is_quiet() -> bool:
    """Whether progress and notes are left out."""
    return _QUIET in os.environ


def be_quiet() -> None:
    """Leaves out progress and notes from now on; called before tqdm and torch are imported."""
    os.environ[_QUIET] = os.environ["TQDM_DISABLE"] = "1"
    os.environ["TORCH_CPP_LOG_LEVEL"] = "ERROR"
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def note(text: str) -> None:
    """Says something on stderr, unless notes are left out."""
    if not is_quiet():
        print(f"note: {printable(text)}", file=sys.stderr)
