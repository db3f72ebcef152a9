"""The order of training images, from which a stopped epoch can be taken up again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data.distributed import DistributedSampler

from zsl.data.seeds import Draw, seeds

_CHUNK = 65_536
# Of timm's `RepeatAugSampler`.
_ROUND = 256


class ResumableSampler(DistributedSampler):
    """A random order for each epoch that depends on seed and epoch alone.

    The order is that of torch's `DistributedSampler`, or of timm's `RepeatAugSampler`. Each image
    comes with a seed of its own, which depends on these, its position and the number of the repeat
    alone. Lightning sets the epoch, in a single process too.

    Both make lists of Python's numbers; here an epoch is arrays. Releases of timm before 1.0.31
    leave epochs of fewer than 256 images empty.

    Args:
        rows: What is sampled.
        num_processes: Processes that share each epoch.
        rank: Which of them this is.
        seed: Seed of all orders.
        repeats: How often an image follows upon itself, varied in another way each time (Hoffer et
            al., arXiv 1901.09335). An epoch has as many images as without, from 256 on rounded
            down to a multiple of it, but only so small a part of all different ones.
    """

    def __init__(
        self,
        rows: Sequence[int] | np.ndarray,
        num_processes: int,
        rank: int,
        seed: int,
        repeats: int = 1,
    ) -> None:
        super().__init__(rows, num_processes, rank, seed=seed)  # type: ignore[arg-type]
        self.rows = np.asarray(rows, np.int64)
        self.repeats = repeats
        self.start = 0
        if repeats > 1 and len(self.rows) >= _ROUND:
            self.num_samples = len(self.rows) // _ROUND * _ROUND // num_processes

    def begin(self, epoch: int, start: int) -> None:
        """Sets the epoch to begin with, and how many of its images were used before the stop."""
        self.set_epoch(epoch)
        self.start = start

    def __iter__(self) -> Iterator[Draw]:
        """Yields the rows of an epoch, from `start` on in the first one."""
        start, self.start = self.start, 0
        order = self._order()
        own_draws = order
        if self.repeats > 1:
            repeat = (self.rank + self.num_replicas * np.arange(len(order))) % self.repeats
            own_draws = order + len(self.rows) * repeat
        # As a part of all processes' draws, so that their number does not change it.
        own_seeds = seeds(self.repeats * len(self.rows), self.seed, self.epoch)[own_draws]
        for begin in range(start, len(order), _CHUNK):
            chunk = slice(begin, begin + _CHUNK)
            yield from map(Draw, self.rows[order[chunk]].tolist(), own_seeds[chunk].tolist())

    def _order(self) -> np.ndarray:
        """Indices of the rows of this process's part of the epoch."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.rows), generator=generator).numpy()
        own = self.rank + self.num_replicas * np.arange(self.num_samples)
        # Each process has equally many: the first ones come again at the end.
        return order[own // self.repeats % len(order)]
