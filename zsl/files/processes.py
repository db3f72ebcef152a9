"""Work on many files in several processes."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else lambda *_: None
_PR_SET_PDEATHSIG = 1


@contextmanager
def process_map(num_workers: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """Yields a `map` that works in processes; with one worker, the built-in one.

    The processes import this module and that of the function mapped: where both are light, they
    start in a tenth of a second. They end with this process, also when it is killed.
    """
    if num_workers < 2:
        yield map
        return
    # Spawned processes inherit no threads, on any system.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, context, _begin_worker) as pool:
        try:
            yield lambda function, *jobs: pool.map(function, *jobs, chunksize=16)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def is_running(process: int) -> bool:
    """Whether a process of this machine, by its number, is there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # Another user's.
        pass
    return True


def process_space() -> str:
    """Names what a process's number is unique in: this boot of a machine, or of a container on it.

    Names of hosts do not: many are "localhost". Empty where the system is not Linux.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


@cache
def end_children_at_exit() -> None:
    """Lets the end of this process kill children that `leave_stops_to_parent`.

    Python ends those that are daemons by SIGTERM, and would wait for them forever.
    """

    def kill() -> None:
        for child in multiprocessing.active_children():
            if child.daemon:
                child.kill()

    # Before Python's own end of children, which comes before `atexit` has its turn.
    Finalize(None, kill, exitpriority=0)


def leave_stops_to_parent() -> None:
    """Ignores Ctrl-C and SIGTERM, which reach a whole group: the parent ends its workers.

    It has to call `end_children_at_exit`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def die_with_parent() -> None:
    """Lets Linux kill this process when its parent ends; elsewhere it would run on."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _begin_worker() -> None:
    """Ends this process when its parent is killed, which a pool alone would wait for forever."""
    leave_stops_to_parent()
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
