import pytest
from torch.utils.data import BatchSampler, Sampler

from zsl.data.seeds import ViewSampler
from zsl.data.shared_sampler import SharedSampler


@pytest.mark.parametrize("count", [1, 2, 5, 8, 11, 64])
@pytest.mark.parametrize("processes", [1, 2, 3, 8])
@pytest.mark.parametrize("equal", [False, True])
def test_the_batches_are_those_of_one_process(count: int, processes: int, equal: bool) -> None:
    order: Sampler = ViewSampler(range(count), epoch=3)  # type: ignore[arg-type]
    expected = list(BatchSampler(order, 4, drop_last=False))
    found = []
    for rank in range(processes):
        sampler = SharedSampler(order, 4, processes, rank, equal)
        assert len(sampler) == len(list(sampler))
        assert sampler.num_batches == len(expected)
        found.append(list(BatchSampler(sampler, 4, drop_last=False)))
        assert found[rank][: len(expected[rank::processes])] == expected[rank::processes]
    extra = [batch for rank in range(processes) for batch in found[rank]]
    for batch in expected:
        extra.remove(batch)
    assert all(batch == expected[0] for batch in extra)
    lengths = {len(batches) for batches in found}
    assert lengths == {-(-len(expected) // processes)} if equal else not extra
