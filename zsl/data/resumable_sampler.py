"""The order of training images, from which a stopped epoch can be taken up again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from torch.utils.data.distributed import DistributedSampler

from zsl.data.seeds import Draw, seeds


class ResumableSampler(DistributedSampler):
    """A random order for each epoch that depends on seed and epoch alone.

    Each image comes with a seed of its own, which depends on these and its position alone.
    Lightning sets the epoch, in a single process too.

    Args:
        rows: What is sampled.
        num_processes: Processes that share each epoch.
        rank: Which of them this is.
        seed: Seed of all orders.
        epoch: The epoch to begin with.
        start: Images of that epoch, of this process, that were used before the stop.
    """

    def __init__(
        self, rows: Sequence[int], num_processes: int, rank: int, seed: int, epoch: int, start: int
    ) -> None:
        super().__init__(rows, num_processes, rank, seed=seed)  # type: ignore[arg-type]
        self.rows = rows
        self.set_epoch(epoch)
        self.start = start

    def __iter__(self) -> Iterator[Draw]:
        """Yields the rows of an epoch, from `start` on in the first one."""
        start, self.start = self.start, 0
        of_image = seeds(len(self.rows), self.seed, self.epoch)
        indices = islice(super().__iter__(), start, None)
        return (Draw(self.rows[index], int(of_image[index])) for index in indices)
