"""What needs no pixels, run at the size of OpenImages V6: figures of its test, order of its images.

    python benchmarks/scale_simulation.py metrics|sampler

The order is that of nine million images over 64 processes. `large_index.py` does the same for the
index.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scale_recipes import RECIPES
from scale_terms import evaluating, peak

from zsl.data.resumable_sampler import ResumableSampler
from zsl.data.shared_sampler import SharedSampler


def simulate_metrics() -> None:
    """All figures of OpenImages' test."""
    recipe = RECIPES["OpenImages V6"]
    for name, value in evaluating(recipe.test, recipe.known).items():
        print(f"{value:>18,.3f} {name}", flush=True)


def simulate_sampler(processes: int = 64) -> None:
    """An epoch of OpenImages over 64 processes: every image once, and the padding twice."""
    recipe = RECIPES["OpenImages V6"]
    count = recipe.num_images
    rows, times, begun = np.arange(count), np.zeros(count, np.int64), []
    before = peak()
    for rank in range(processes):
        sampler = ResumableSampler(rows, processes, rank, seed=0)
        start = time.process_time()
        draws = iter(sampler)
        first = next(draws)
        begun.append(time.process_time() - start)
        positions = [first.position, *(draw.position for draw in draws)]
        times += np.bincount(positions, minlength=count)
    middle = len(sampler) // 2
    sampler.begin(0, middle)
    start = time.process_time()
    following = next(iter(sampler))
    resumed = time.process_time() - start
    assert following.position == positions[middle]
    padding = processes * len(sampler) - count
    assert times.min() == 1
    assert times.sum() - count == (times == 2).sum() == padding
    print(f"training: {count:,} images, {len(sampler):,} a process, {padding} come twice")
    print(f"  s to begin an epoch: {np.median(begun):.2f}, in its middle: {resumed:.2f}")
    print(f"  MB of a process, while it begins: {(peak() - before) / 1e6:.0f}", flush=True)
    for kind, number in (("validation", 41_620), ("training images in order", count)):
        times, start = np.zeros(number, np.int64), time.process_time()
        for rank in range(processes):
            shared = SharedSampler(range(number), recipe.batch, processes, rank, equal=True)
            times += np.bincount(list(shared), minlength=number)
        seconds = (time.process_time() - start) / processes
        assert times.min() == 1
        assert (times[recipe.batch :] == 1).all()
        print(f"{kind}: {number:,} images, {seconds:.3f} s a process")
        print(f"  the first batch comes {times[0]} times", flush=True)


def main() -> None:
    """Runs one of the simulations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("metrics", "sampler"))
    what = parser.parse_args().what
    {"metrics": simulate_metrics, "sampler": simulate_sampler}[what]()


if __name__ == "__main__":
    main()
