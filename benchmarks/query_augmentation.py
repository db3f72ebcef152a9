"""What each query augmentation costs, beside a training step without any.

python benchmarks/query_augmentation.py [--images 56] [--labels 925]

The step is that of the ML-Decoder head, forward and backward, at NUS-WIDE's size: 49 tokens of
2432 values an image, vectors of 300. "Work" is the augmentation by itself, in parts of that step.
Queries that are added are then decoded like labels: "step" is how much longer the whole takes.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from zsl.labels import QueryAugmentation
from zsl.labels.query_addition import MixedQueries, NeighbourQueries, RandomQueries
from zsl.losses import AsymmetricLoss
from zsl.models import WordMLDecoder

AUGMENTATIONS = {
    "noise 0.5": QueryAugmentation(noise=0.5),
    "rotation 0.5": QueryAugmentation(rotation=0.5),
    "dropout 0.3": QueryAugmentation(dropout=0.3),
    "20 random": QueryAugmentation(additions=[RandomQueries(20, "absent")]),
    "20 mixtures of 2": QueryAugmentation(additions=[MixedQueries(20)]),
    "20 mixtures of 4": QueryAugmentation(additions=[MixedQueries(20, num_labels=4)]),
    "20 neighbours": QueryAugmentation(additions=[NeighbourQueries(20)]),
    "all, with a ramp": QueryAugmentation(
        dropout=0.3,
        additions=[RandomQueries(20, "absent"), MixedQueries(20), NeighbourQueries(20)],
        noise=0.5,
        rotation=0.5,
        ramp=0.5,
    ),
}


def seconds(work: Callable[[], object], rounds: int, device: torch.device) -> float:
    """Median time of a call."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main() -> None:
    """Prints a line for each augmentation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=56)
    parser.add_argument("--labels", type=int, default=925)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    head = WordMLDecoder(2432, 300).to(device)
    loss = AsymmetricLoss()
    tokens = torch.randn(options.images, 49, 2432, device=device)
    vectors = torch.randn(options.labels, 300, device=device)
    labels = torch.randint(0, 2, (options.images, options.labels), device=device).to(torch.int8)

    def step(queries: Tensor, targets: Tensor) -> None:
        loss(head(tokens, queries), targets).backward()
        head.zero_grad()

    plain = seconds(lambda: step(vectors, labels), options.rounds, device)
    print(f"{device.type}, {options.images} images, {options.labels} labels")
    print(f"{'step without augmentation':<28}{1e3 * plain:9.1f} ms")
    print(f"{'':<28}{'work':>9}   {'':>9}{'step':>9}")
    for name, augmentation in AUGMENTATIONS.items():
        augmentation.to(device).train()

        def augment(augmentation: QueryAugmentation = augmentation) -> tuple[Tensor, Tensor]:
            return augmentation(vectors, labels)

        def augmented_step(augment: Callable[[], tuple[Tensor, Tensor]] = augment) -> None:
            step(*augment())

        work = seconds(augment, 10 * options.rounds, device)
        whole = seconds(augmented_step, options.rounds, device)
        print(
            f"{name:<28}{1e3 * work:9.2f} ms{work / plain:9.2%}{whole / plain - 1:+9.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
