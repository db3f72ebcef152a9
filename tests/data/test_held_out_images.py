"""Training images kept for validation."""

import numpy as np
import pytest

from zsl.data.held_out_images import split_off
from zsl.errors import InputError


def test_every_image_is_in_one_part_and_the_seed_says_which() -> None:
    train, val = split_off(1000, 0.1, seed=3)

    assert len(val) == 100
    assert sorted([*train, *val]) == list(range(1000))
    assert (np.diff(train) > 0).all()
    assert (np.diff(val) > 0).all()
    assert split_off(1000, 0.1, seed=3)[1].tolist() == val.tolist()
    assert split_off(1000, 0.1, seed=4)[1].tolist() != val.tolist()


def test_a_small_fraction_keeps_one_image() -> None:
    assert [len(part) for part in split_off(5, 0.01)] == [4, 1]


@pytest.mark.parametrize(("count", "fraction"), [(10, 0.0), (10, 1.0), (10, 0.99), (1, 0.5)])
def test_what_leaves_nothing_is_refused(count: int, fraction: float) -> None:
    with pytest.raises(InputError, match="val_fraction"):
        split_off(count, fraction)
