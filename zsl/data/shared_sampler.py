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
        images: All images in order; a part of them can be had by a slice.
        batch_size: Images in a batch.
        num_processes: Number N of processes.
        rank: Which of them this is.
        equal: Whether all have equally many batches, as the validation of a training needs: those
            that would have one less get the first batch once more.

    Attributes:
        num_batches: Batches of all processes together, none counted twice.
    """

    def __init__(
        self,
        images: Any,
        batch_size: int,
        num_processes: int,
        rank: int,
        equal: bool = False,
    ) -> None:
        super().__init__(images, num_processes, rank, shuffle=False)
        self.images = images
        starts = range(0, len(images), batch_size)
        self.num_batches = len(starts)
        own = starts[rank::num_processes]
        gets_first = equal and len(own) < len(starts[::num_processes])
        self.batches = [slice(start, start + batch_size) for start in (*own, *starts[:gets_first])]
        self.num_samples = sum(len(range(*part.indices(len(images)))) for part in self.batches)

    def __iter__(self) -> Iterator[Any]:
        """Yields this process's images."""
        for batch in self.batches:
            yield from self.images[batch]
