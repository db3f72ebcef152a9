"""Exact average precision at the size of NUS-WIDE's test: time, memory, equality; the bootstrap.

    python benchmarks/metrics.py [--num_images 107859] [--num_labels 1006] [--replicates 1000]

Prints, each measured in a process of its own, so that none has the other's memory:
this package's AP, torchmetrics' exact AP, all figures of `evaluate`, their bootstrap. And how often
95 % intervals hold the true mAP in small tests.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from multiprocessing import get_context

import numpy as np
import torch
from torch import Tensor

from zsl.metrics import Protocol, average_precision, evaluate
from zsl.metrics.bootstrap import Bootstrap, interval


def make(num_images: int, num_labels: int) -> tuple[Tensor, Tensor]:
    """Scores float32 and targets with a long tail of rare labels, as tags have."""
    generator = torch.Generator().manual_seed(0)
    prevalence = 0.3 / torch.arange(1, num_labels + 1) ** 0.7
    targets = torch.empty(num_images, num_labels, dtype=torch.int8)
    scores = torch.empty(num_images, num_labels)
    for rows in torch.arange(num_images).split(4096):
        shape = len(rows), num_labels
        present = torch.rand(shape, generator=generator) < prevalence
        targets[rows] = present.to(torch.int8)
        scores[rows] = torch.randn(shape, generator=generator) + present
    return scores, targets


def measured(
    work: Callable[..., Tensor], options: argparse.Namespace
) -> tuple[float, float, float]:
    """Seconds, peak GB of the whole process, and GB of the peak above what there was before."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (work, options))


def _measure(
    work: Callable[..., Tensor], options: argparse.Namespace
) -> tuple[float, float, float]:
    scores, targets = make(options.num_images, options.num_labels)
    work(scores[:64], targets[:64], options)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    work(scores, targets, options)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return seconds, peak / 1e6, (peak - before) / 1e6


def groups(num_labels: int) -> dict[str, list[int]]:
    """A twelfth of the labels as unseen, as in NUS-WIDE."""
    num_seen = num_labels - num_labels // 12
    return {
        "zsl": list(range(num_seen, num_labels)),
        "gzsl": list(range(num_labels)),
        "seen": list(range(num_seen)),
    }


def ours(scores: Tensor, targets: Tensor, options: argparse.Namespace) -> Tensor:
    """This package's AP."""
    return average_precision(scores, targets)


def theirs(scores: Tensor, targets: Tensor, options: argparse.Namespace) -> Tensor:
    """Torchmetrics' exact AP."""
    from torchmetrics.functional.classification import multilabel_average_precision

    # Scores outside [0, 1] would go through a sigmoid, which makes ties.
    return multilabel_average_precision(
        (scores - scores.min()) / (scores.max() - scores.min()),
        targets.long(),
        num_labels=scores.shape[1],
        average="none",
    )


def everything(scores: Tensor, targets: Tensor, options: argparse.Namespace) -> Tensor:
    """All figures of three groups of labels."""
    return evaluate(scores, targets, groups(scores.shape[1])).average_precision


def bootstrapped(scores: Tensor, targets: Tensor, options: argparse.Namespace) -> Tensor:
    """Replicates of all headline figures."""
    bootstrap = Bootstrap(len(scores), options.replicates)
    return bootstrap.figures(scores, targets, groups(scores.shape[1]))["gzsl/mAP"]


def equality(options: argparse.Namespace) -> float:
    """Largest difference from scikit-learn, over a part of the labels, ties among the scores."""
    from sklearn.metrics import average_precision_score

    scores, targets = make(options.num_images, options.num_labels)
    columns = torch.linspace(0, options.num_labels - 1, 40).long()
    scores, targets = (100 * scores[:, columns]).round() / 100, targets[:, columns]
    expected = [average_precision_score(t, s) for s, t in zip(scores.T, targets.T, strict=True)]
    return float(np.abs(average_precision(scores, targets).numpy() - expected).max())


def coverage(num_tests: int = 200, num_images: int = 300) -> dict[str, float]:
    """How often an interval of the mAP of 80 rare labels holds its mean over tests of that size."""
    random = np.random.default_rng(0)

    def sample() -> tuple[Tensor, Tensor]:
        present = random.random((num_images, 80)) < 0.03
        scores = random.normal(size=(num_images, 80)) + present
        return torch.from_numpy(scores), torch.from_numpy(present.astype(np.int8))

    protocol = Protocol()
    mean = np.mean([protocol.mean(average_precision(*sample())).item() for _ in range(400)])
    held = {"less their bias": 0.0, "plain percentiles": 0.0}
    for seed in range(num_tests):
        data = sample()
        replicates = protocol.mean(Bootstrap(num_images, 400, seed).ap(*data, protocol))
        low, high = interval(replicates, protocol.mean(average_precision(*data)).item())
        held["less their bias"] += bool(low <= mean <= high)
        low, high = np.quantile(replicates.numpy(), [0.025, 0.975])
        held["plain percentiles"] += bool(low <= mean <= high)
    return {name: count / num_tests for name, count in held.items()}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--num_images", type=int, default=107_859)
    parser.add_argument("--num_labels", type=int, default=1006)
    parser.add_argument("--replicates", type=int, default=1000)
    options = parser.parse_args()
    print(f"{options.num_images:,} images, {options.num_labels:,} labels, float32")
    print(f"threads: {torch.get_num_threads()}")
    seconds = {}
    for name, work in (
        ("average_precision", ours),
        ("torchmetrics", theirs),
        ("evaluate", everything),
        (f"bootstrap, {options.replicates} replicates", bootstrapped),
    ):
        seconds[name], peak, more = measured(work, options)
        print(f"{name:<28}{seconds[name]:7.1f} s   peak {peak:.2f} GB, {more:.2f} GB of it its own")
    ratio = seconds["torchmetrics"] / seconds["average_precision"]
    print(f"torchmetrics / average_precision: {ratio:.1f}")
    print(f"largest difference from scikit-learn (40 labels, ties): {equality(options):.1e}")
    for name, part in coverage().items():
        print(f"95 % intervals that hold the mean mAP of such tests, {name}: {part:.0%}")


if __name__ == "__main__":
    main()
