"""Threads in place of the processes of a group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Queue
from threading import Barrier, Thread, local
from typing import Any, TypeVar

import pytest

from zsl.commands import launch
from zsl.process_group import ProcessGroup

R = TypeVar("R")


@dataclass(frozen=True)
class ThreadGroup(ProcessGroup):
    messages: defaultdict[tuple[int, int], Queue[Any]] = field(
        default_factory=lambda: defaultdict(Queue)
    )
    barrier: Barrier = field(default_factory=lambda: Barrier(1))

    def _send(self, rank: int, kind: Any, content: Any) -> None:
        self.messages[self.rank, rank].put([kind, content])

    def _message(self, rank: int) -> list[Any]:
        message = self.messages[rank, self.rank].get(timeout=60)
        if message is None:  # It has ended.
            raise SystemExit
        return message

    def _wait(self) -> None:
        self.barrier.wait(timeout=60)


def run_together(function: Callable[[ProcessGroup], R], size: int = 2) -> R:
    """Runs a function in as many threads; returns what it returns in the first."""
    shared: Any = (defaultdict(Queue), Barrier(size))
    groups = [ThreadGroup(rank, size, "cpu", None, *shared) for rank in range(size)]
    threads = [Thread(target=function, args=(group,), daemon=True) for group in groups[1:]]
    for thread in threads:
        thread.start()
    try:
        result = function(groups[0])
    finally:
        for group in groups[1:]:
            groups[0].messages[0, group.rank].put(None)
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    return result


def run_command(
    monkeypatch: pytest.MonkeyPatch, main: Callable[[list[str]], int], args: list[str]
) -> int:
    """Runs a command as `--devices 2` does; returns the exit code of the first process."""
    own = local()
    monkeypatch.setattr(launch, "_join", lambda *_: own.group)

    def run(group: ProcessGroup) -> int:
        own.group = group
        return main([*args, "--devices=2"])

    return run_together(run)
