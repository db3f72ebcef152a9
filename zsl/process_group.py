"""Work that several processes share, on one machine or many; what one would make, in its order."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from itertools import cycle, islice
from typing import Any, NoReturn, TypeVar

from zsl.errors import InputError

T = TypeVar("T")
R = TypeVar("R")


class _Kind(Enum):
    RESULT = "result"
    ERROR = "error"
    END = "end"


_END: Any = object()


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of a command; `zsl.commands.launch` starts them.

    What they make comes to the first, which alone prints and writes results. A mistake of the user
    that another one meets is raised by the first; where one has ended, all do.

    Args:
        rank: Which of them this is; the first is 0.
        size: How many there are.
        device: What this one computes on, as torch names it; None takes the GPU if there is one.
        group: torch's; None of a single process.
    """

    rank: int = 0
    size: int = 1
    device: str | None = None
    group: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this is the one that prints and writes."""
        return self.rank == 0

    @property
    def accelerator(self) -> str:
        """What Lightning's trainer of this process alone computes on."""
        return "auto" if self.device is None else self.device.partition(":")[0]

    @property
    def devices(self) -> int | list[int]:
        """Its devices."""
        number = (self.device or "").partition(":")[2]
        return [int(number)] if number else 1

    @contextmanager
    def first_goes_ahead(self) -> Iterator[None]:
        """Lets the others run the block after the first: what is refused, is refused once.

        Nothing may be sent in it.
        """
        if not self.is_first:
            self._wait()
        yield
        if self.is_first:
            self._wait()

    def of_first(self, value: T) -> T:
        """Returns the first process's value."""
        if not self.is_first:
            return self._receive(0)
        for rank in range(1, self.size):
            self._send(rank, _Kind.RESULT, value)
        return value

    def in_order(self, own: Iterable[T]) -> Iterator[T]:
        """Yields on the first process what all have made; on the others nothing, but it has to run.

        Args:
            own: What this process makes: of N processes every N-th result.
        """
        results: Iterator[Any] = iter(own)
        if not self.is_first:
            self._send_all(results)
            return
        for rank in cycle(range(self.size)):
            result = next(results, _END) if rank == 0 else self._receive(rank)
            if result is _END:
                break
            yield result
        for other in range(1, self.size):
            if other != rank:
                self._receive(other)

    def flat_map(self, function: Callable[[T], Iterable[R]], items: Iterable[T]) -> Iterator[R]:
        """Yields on the first process what a function makes of each item, in the items' order.

        Args:
            function: Makes several results of an item; the processes take turns.
            items: They are sent to the others, whose own don't count.
        """
        if not self.is_first:
            self._work(function)
            return
        items = iter(items)
        while turn := list(islice(items, self.size)):
            for rank, item in enumerate(turn[1:], 1):
                self._send(rank, _Kind.RESULT, item)
            yield from function(turn[0])
            for rank in range(1, len(turn)):
                yield from self._receive(rank)
        for rank in range(1, self.size):
            self._send(rank, _Kind.END, None)

    def _work(self, function: Callable[[T], Iterable[R]]) -> None:
        while (item := self._receive(0)) is not _END:
            try:
                results = list(function(item))
            except InputError as error:
                self._hand_over(error)
            self._send(0, _Kind.RESULT, results)

    def _send_all(self, results: Iterator[Any]) -> None:
        try:
            for result in results:
                self._send(0, _Kind.RESULT, result)
        except InputError as error:
            self._hand_over(error)
        self._send(0, _Kind.END, None)

    def _hand_over(self, error: InputError) -> NoReturn:
        self._send(0, _Kind.ERROR, str(error))
        sys.exit()  # The first one says what was wrong.

    def _send(self, rank: int, kind: _Kind, content: Any) -> None:
        from torch import distributed

        with self._ending_together():
            distributed.send_object_list([kind, content], rank, self.group)

    def _receive(self, rank: int) -> Any:
        """Returns what the process sent, or `_END`."""
        kind, content = self._message(rank)
        if kind is _Kind.ERROR:
            raise InputError(content)
        return _END if kind is _Kind.END else content

    def _message(self, rank: int) -> list[Any]:
        from torch import distributed

        received = [None, None]
        with self._ending_together():
            distributed.recv_object_list(received, rank, self.group)
        return received

    def _wait(self) -> None:
        from torch import distributed

        if self.size > 1:
            with self._ending_together():
                distributed.barrier(self.group)

    @contextmanager
    def _ending_together(self) -> Iterator[None]:
        """Ends this process where another one has."""
        try:
            yield
        except RuntimeError as error:  # Of gloo, with its own source lines as message.
            if self.is_first:
                print(
                    "error: Another process of this command has ended. Give the command again: it "
                    "goes on where parts of its output were kept.",
                    file=sys.stderr,
                )
            raise SystemExit(1) from error


ALONE = ProcessGroup()
