import tracemalloc
from collections import Counter
from typing import Any

import numpy as np
import pytest
from timm.data.distributed_sampler import RepeatAugSampler
from torch.utils.data.distributed import DistributedSampler

from zsl.data import ImageConfig, ShapesDataModule
from zsl.data.resumable_sampler import ResumableSampler
from zsl.data.seeds import Draw, seeds
from zsl.errors import InputError


def draws(
    count: int, processes: int = 1, rank: int = 0, seed: int = 1, repeats: int = 1, epoch: int = 0
) -> list[Draw]:
    sampler = ResumableSampler(range(count), processes, rank, seed, repeats)
    sampler.begin(epoch, 0)
    return list(sampler)


@pytest.mark.parametrize("count", [1, 2, 11, 64])
@pytest.mark.parametrize("processes", [1, 2, 5])
def test_the_order_is_that_of_torch(count: int, processes: int) -> None:
    for rank in range(processes):
        rows: Any = range(count)
        theirs: Any = DistributedSampler(rows, processes, rank, seed=7)
        ours = ResumableSampler(range(count), processes, rank, 7)
        assert len(ours) == len(theirs)
        for epoch in range(3):
            theirs.set_epoch(epoch)
            ours.set_epoch(epoch)
            of_image = seeds(count, 7, epoch).tolist()
            assert list(ours) == [Draw(index, of_image[index]) for index in theirs]


@pytest.mark.parametrize(("count", "repeats"), [(256, 3), (600, 2)])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_repeats_are_in_the_order_of_timm(count: int, repeats: int, processes: int) -> None:
    everything = []
    for rank in range(processes):
        theirs = RepeatAugSampler(range(count), processes, rank, num_repeats=repeats)
        theirs.set_epoch(7 + 2)
        ours = ResumableSampler(range(count), processes, rank, 7, repeats)
        ours.set_epoch(2)
        found = list(ours)
        assert [draw.position for draw in found] == list(theirs)
        assert len(ours) == len(found) == len(theirs)
        everything += found
    # No image is varied twice in the same way, whichever processes have its repeats.
    times = Counter(draw.position for draw in everything)
    assert max(times.values()) == repeats
    assert len(set(everything)) == len(everything)
    assert len({draw.seed for draw in everything}) == len(everything)
    # Of each, one repeat is varied as without repeats.
    of_image = seeds(count, 7, 2).tolist()
    assert sum(draw.seed == of_image[draw.position] for draw in everything) >= len(times) - 1


@pytest.mark.parametrize("repeats", [1, 3])
def test_an_epoch_is_taken_up_where_it_was(repeats: int) -> None:
    whole = draws(600, repeats=repeats)
    assert whole == draws(600, repeats=repeats)
    assert whole != draws(600, repeats=repeats, seed=2)
    sampler = ResumableSampler(range(600), 1, 0, 1, repeats)
    sampler.begin(0, 40)
    assert list(sampler) == whole[40:]
    # Only the first epoch is begun in its middle.
    assert list(sampler) == whole
    sampler.set_epoch(1)
    assert list(sampler) == draws(600, repeats=repeats, epoch=1) != whole


def test_processes_share_an_epoch_and_vary_an_image_alike() -> None:
    shares = [draws(11, 2, rank) for rank in (0, 1)]
    assert len(shares[0]) == len(shares[1]) == 6  # One image comes again.
    assert {*shares[0], *shares[1]} == set(draws(11))


def test_rows_are_sampled_by_what_they_hold() -> None:
    sampler = ResumableSampler([5, 7, 90], 1, 0, seed=0)
    of_image = seeds(3, 0, 0).tolist()
    assert sorted(sampler) == [Draw(row, of_image[i]) for i, row in enumerate((5, 7, 90))]


def test_an_epoch_with_repeats_is_as_long_and_resumes_in_its_middle() -> None:
    varied = ImageConfig(16, min_crop=0.3)
    data = ShapesDataModule(10, 2, 2, images=varied, batch_size=4, num_workers=0, repeats=2)
    data.setup("fit")
    loader = data.train_dataloader()
    batches = list(loader)
    assert len(batches) == len(loader) == 2
    positions = [int(index) for batch in batches for index in batch["index"]]
    assert positions[0::2] == positions[1::2]
    images = batches[0]["image"]
    assert (images[0::2] != images[1::2]).flatten(1).any(dim=1).all()

    data._num_batches_done = 3  # An epoch and a batch.
    (rest,) = data.train_dataloader()
    loader.sampler.set_epoch(1)  # type: ignore[attr-defined]
    assert rest["index"].tolist() == list(loader)[1]["index"].tolist()
    with pytest.raises(InputError, match="repeats is 0; expected 1 or more"):
        ShapesDataModule(repeats=0)


def test_an_epoch_is_arrays_where_that_of_torch_is_lists() -> None:
    def bytes_an_image(sampler: DistributedSampler) -> float:
        tracemalloc.start()
        next(iter(sampler))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak / 1_000_000

    rows = np.arange(1_000_000)
    assert bytes_an_image(ResumableSampler(rows, 1, 0, seed=0)) < 28
    assert bytes_an_image(DistributedSampler(rows, 1, 0)) > 36  # type: ignore[arg-type]
