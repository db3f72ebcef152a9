"""Work on many files in several processes."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any


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
    with ProcessPoolExecutor(num_workers, context, _end_with_parent) as pool:
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


def _end_with_parent() -> None:
    """Ends this process when its parent is killed, which a pool alone would wait for forever."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
