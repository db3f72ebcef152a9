"""What is said beside results and errors; `--quiet` leaves it out."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import Any

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
        write_line(f"note: {printable(text)}")


def remark(text: str) -> None:
    """Says something among the results, on stdout, unless notes are left out."""
    if not is_quiet():
        print(f"note: {printable(text)}", flush=True)


def write_line(text: str) -> None:
    """Writes a line to stderr: above the progress bars, if there are any."""
    if "tqdm" in sys.modules:
        sys.modules["tqdm"].tqdm.write(text, file=sys.stderr)
    else:
        print(text, file=sys.stderr)


def is_first() -> bool:
    """Whether this process is alone, or the first that a launcher started on this machine."""
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "SLURM_LOCALID"))


def on_terminals() -> dict[str, Any]:
    """Options of tqdm for what is shown on terminals alone, and cleared when it is over."""
    return {"disable": is_quiet() or not is_first() or None, "leave": False}


def waiting(for_what: str) -> Any:
    """Shows on a terminal what takes a while, for as long as the `with` block runs."""
    from tqdm import tqdm  # Imported here, so that helps come at once.

    return tqdm(desc=for_what, bar_format="{desc} ...", **on_terminals())
