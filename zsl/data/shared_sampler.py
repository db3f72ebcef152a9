"""Images in order, shared among processes batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data.distributed import DistributedSampler


class SharedSampler(DistributedSampler):
    """One process's batches of images in order: of N processes the first has every N-th batch.

    The batches are those that a single process makes, so that the network gives the same digits:
    how sums are rounded depends on what else is in a batch. torch's `DistributedSampler` deals out
    single images.

    Args:
        images: All images in order: their positions, or a sampler.
        batch_size: Images in a batch.
        num_processes: Number N of processes.
        rank: Which of them this is.
        equal: Whether all have equally many batches, as the validation of a training needs: those
            that would have one less get the first batch once more.

    Attributes:
        num_batches: Batches of all processes together, none counted twice.
    """

    def __init__(
        self, images: Any, batch_size: int, num_processes: int, rank: int, equal: bool = False
    ) -> None:
        super().__init__(images, num_processes, rank, shuffle=False)
        self.batch_size = batch_size
        starts = range(0, len(images), batch_size)
        self.num_batches = len(starts)
        own = starts[rank::num_processes]
        self.gets_first = equal and len(own) < len(starts[::num_processes])
        sizes = [min(batch_size, len(images) - start) for start in (*own[-1:], 0)]
        self.num_samples = max(0, len(own) - 1) * batch_size
        self.num_samples += sizes[0] * (len(own) > 0) + sizes[-1] * self.gets_first

    def __iter__(self) -> Iterator[Any]:
        """Yields this process's images."""
        first = []
        for position, image in enumerate(self.dataset):
            number = position // self.batch_size
            if number == 0 and self.gets_first:
                first.append(image)
            if number % self.num_replicas == self.rank:
                yield image
        yield from first
