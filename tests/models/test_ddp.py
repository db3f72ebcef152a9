"""All heads in two processes: the gradients are those of the whole batch in one."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from zsl.models import FixedMLDecoder, GroupedWordMLDecoder, MLDecoder, WordMLDecoder

OPTIONS: dict[str, Any] = {"embed_dim": 16, "num_heads": 2, "feedforward_dim": 24}
PROCESSES = 2


def make_heads() -> list[tuple[MLDecoder, list[Tensor]]]:
    """Heads of each mode without dropout, and what they take beside tokens."""
    torch.manual_seed(0)
    vectors = torch.randn(9, 6)
    return [
        (FixedMLDecoder(10, 7, 3, dropout=0.0, **OPTIONS), []),
        (WordMLDecoder(10, 6, dropout=0.0, **OPTIONS), [vectors]),
        (WordMLDecoder(10, 6, dropout=0.0, grad_checkpointing=True, **OPTIONS), [vectors]),
        (GroupedWordMLDecoder(10, vectors[:3], dropout=0.0, **OPTIONS), [vectors]),
    ]


def make_tokens() -> Tensor:
    return torch.randn(4, 5, 10, generator=torch.Generator().manual_seed(1))


def second_process(index: int, folder: str) -> None:
    gradients(1, folder)


def gradients(rank: int, folder: str) -> list[dict[str, Tensor | None]]:
    """The gradients of all heads by name, as each process has them."""
    dist.init_process_group(
        "gloo",
        f"file://{folder}/meet",
        timedelta(minutes=2),
        rank=rank,
        world_size=PROCESSES,
    )
    found = []
    for head, queries in make_heads():
        parallel = DistributedDataParallel(head)
        for _ in range(2):  # The second step would miss a parameter without a gradient.
            head.zero_grad()
            parallel(make_tokens().chunk(PROCESSES)[rank], *queries).square().mean().backward()
        found.append({name: p.grad for name, p in head.named_parameters()})
    dist.destroy_process_group()
    return found


def test_gradients_of_two_processes_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    second = spawn(second_process, (str(tmp_path),), join=False)
    found = gradients(0, str(tmp_path))
    assert second.join()
    for (head, queries), own in zip(make_heads(), found, strict=True):
        head(make_tokens(), *queries).square().mean().backward()
        expected = {name: parameter.grad for name, parameter in head.named_parameters()}
        torch.testing.assert_close(own, expected)
