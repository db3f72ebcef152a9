from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from tests.fakes.threads import run_together
from zsl.errors import InputError
from zsl.process_group import ALONE, ProcessGroup


def squares(group: ProcessGroup, count: int) -> list[int]:
    return list(group.in_order(n * n for n in range(count)[group.rank :: group.size]))


def digits(number: int) -> Iterator[int]:
    return map(int, str(number))


def of_digits(group: ProcessGroup, numbers: list[int]) -> list[int]:
    """The others' numbers must not count."""
    return list(group.flat_map(digits, numbers if group.is_first else [77]))


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 15])
def test_results_come_in_order(size: int, count: int) -> None:
    def work(group: ProcessGroup) -> tuple[list[int], list[int]]:
        return squares(group, count), of_digits(group, [n**3 for n in range(count)])

    expected = [n * n for n in range(count)], [int(d) for n in range(count) for d in str(n**3)]
    assert run_together(work, size) == expected


def test_alone_items_and_results_are_taken_as_they_come() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in (12, 34):
            taken.append(number)
            yield number

    results = ALONE.flat_map(digits, items())
    assert next(results) == 1
    assert taken == [12]
    assert list(results) == [2, 3, 4]


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_the_first_raises_the_mistake_that_another_meets(count: int) -> None:
    def fail(item: int) -> list[int]:
        if item == count - 1:
            raise InputError("The seventh image is broken.")
        return [item]

    def work(group: ProcessGroup) -> None:
        list(group.flat_map(fail, range(count)))

    with pytest.raises(InputError, match="seventh"):
        run_together(work, 3)
    with pytest.raises(InputError, match="seventh"):
        run_together(lambda group: list(group.in_order(map(one_of(fail, group, count), [0]))), 3)


def one_of(fail: Any, group: ProcessGroup, count: int) -> Any:
    return lambda _: fail(count - 1 if group.rank == group.size - 1 else 0)


def begin(rank: int, folder: str) -> ProcessGroup:
    meeting = f"file://{folder}/meet"
    dist.init_process_group("gloo", meeting, timedelta(minutes=2), rank=rank, world_size=2)
    return ProcessGroup(rank, 2, "cpu", dist.group.WORLD)


def work_then_end(group: ProcessGroup) -> list[Any]:
    with group.first_goes_ahead():
        pass
    return [group.of_first({"rank": group.rank}), squares(group, 5), of_digits(group, [123, 4, 56])]


def second_process(_: int, folder: str) -> None:
    work_then_end(begin(1, folder))


def test_two_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    second = spawn(second_process, (str(tmp_path),), join=False)
    group = begin(0, str(tmp_path))
    assert work_then_end(group) == [{"rank": 0}, [0, 1, 4, 9, 16], [1, 2, 3, 4, 5, 6]]
    assert second.join()
    with pytest.raises(SystemExit) as ended:  # The other one has ended.
        list(group.in_order([1]))
    assert ended.value.code == 1
    assert "error: Another process of this command has ended." in capsys.readouterr().err
    dist.destroy_process_group()
