import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from zsl.data import ImageConfig, ShapesDataModule
from zsl.data.seeds import Draw, ViewSampler, seeds

VARIED = ImageConfig(24, min_crop=0.3, horizontal_flip=True, cutout=0.3, rand_augment=True)
BY_TIMM = replace(VARIED, rand_augment=False, auto_augment="rand-m9-mstd0.5-inc1")


def epochs(
    num_workers: int, batch_size: int = 4, images: ImageConfig = VARIED
) -> list[tuple[list[int], Tensor]]:
    """Positions and images of two epochs."""
    data = ShapesDataModule(12, 2, 2, images=images, batch_size=batch_size, num_workers=num_workers)
    data.setup("fit")
    loader = data.train_dataloader()
    found = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        batches = list(loader)
        order = torch.cat([batch["index"] for batch in batches]).tolist()
        found.append((order, torch.cat([batch["image"] for batch in batches])))
    # As cyclic garbage, its processes would be waited for.
    loader._iterator = None
    return found


@pytest.mark.parametrize("varied", [VARIED, BY_TIMM], ids=["torchvision", "timm"])
def test_neither_processes_nor_other_draws_change_a_batch(varied: ImageConfig) -> None:
    plain = epochs(0, images=varied)
    for num_workers in (0, 1, 2):
        torch.manual_seed(1 + num_workers)
        random.seed(1 + num_workers)
        np.random.seed(1 + num_workers)
        for (order, images), (own_order, own_images) in zip(
            plain, epochs(num_workers, images=varied), strict=True
        ):
            assert order == own_order
            assert torch.equal(images, own_images)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_loading_leaves_the_generators_of_others_as_they_were(num_workers: int) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state(), random.getstate(), repr(np.random.get_state())
    epochs(num_workers, images=BY_TIMM)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert repr(np.random.get_state()) == before[2]


def test_an_image_is_varied_by_seed_epoch_and_position_alone() -> None:
    (order, images), (_, later) = epochs(0)
    (other_order, other), _ = epochs(0, batch_size=3)
    assert order == other_order
    assert torch.equal(images, other)
    by_position = torch.argsort(torch.tensor(order))

    data = ShapesDataModule(12, 2, 2, images=VARIED, num_workers=0)
    data.setup("fit")
    views = [
        torch.stack([data.train_dataset[draw]["image"] for draw in ViewSampler(range(12), epoch)])  # type: ignore[arg-type]
        for epoch in range(2)
    ]
    assert torch.equal(views[0], images[by_position])
    # Another epoch and another seed vary every image in another way.
    assert (views[0] != views[1]).flatten(1).any(dim=1).all()
    assert sorted(map(tuple, later.flatten(1).tolist())) == sorted(
        map(tuple, views[1].flatten(1).tolist())
    )


def test_seeds_of_neighbouring_keys_have_nothing_in_common() -> None:
    found = [seed for run in range(3) for epoch in range(3) for seed in seeds(100, run, epoch)]
    assert len(set(found)) == 900
    assert seeds(200, 1, 2)[:100].tolist() == seeds(100, 1, 2).tolist()
    assert Draw(0, int(seeds(1, 0)[0])).seed < 2**32
