"""Memory and time of a training step with thousands of labels.

python benchmarks/large_vocabulary.py [--labels 925 5000 20000] [--most_gb 12]

Tokens (32, 49, 2048) as of the published TResNet-L at 224 px, label vectors (L, 300), width 768,
asymmetric loss. Full decoding as it is and with `grad_checkpointing`, then 100 groups at 100,000
labels:

- held: what the graph of the forward pass holds for the backward pass, beside weights and inputs;
- peak: the most memory of the process in the step, less what it had before;
- step: CPU time of forward, loss and backward; the shortest of three, from 5000 labels on
  of one.

What full decoding holds is counted by shapes alone. A step that holds more than `--most_gb` is not
taken.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef

from zsl.losses import AsymmetricLoss
from zsl.models import GroupedWordMLDecoder, WordMLDecoder

TOKENS, TOKEN_DIM, QUERY_DIM, GROUPS = 49, 2048, 300, 100
MOST_LABELS = 100_000
CASES: dict[str, Any] = {
    "full": {},
    "full, checkpointed": {"grad_checkpointing": True},
    "100 groups": None,
}


def held_bytes(head: Any, arguments: list[Tensor]) -> int:
    """Bytes that the graph of a forward pass holds, beside weights and inputs."""
    given = {StorageWeakRef(t.untyped_storage()).cdata for t in (*head.parameters(), *arguments)}
    # A weak reference lets the memory go, but not the address, which would be used again.
    held: dict[int, tuple[StorageWeakRef, int]] = {}

    def count(tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        reference = StorageWeakRef(storage)
        if reference.cdata not in given:
            held[reference.cdata] = (reference, storage.nbytes())

    with torch.autograd.graph.saved_tensors_hooks(count, lambda nothing: nothing):
        head(*arguments)
    return sum(size for _, size in held.values())


def make(case: str, labels: int, batch: int) -> tuple[Any, Tensor, Tensor]:
    """A head, tokens and label vectors."""
    torch.manual_seed(0)
    tokens, vectors = torch.randn(batch, TOKENS, TOKEN_DIM), torch.randn(labels, QUERY_DIM)
    options = CASES[case]
    if options is None:
        return GroupedWordMLDecoder(TOKEN_DIM, torch.randn(GROUPS, QUERY_DIM)), tokens, vectors
    return WordMLDecoder(TOKEN_DIM, QUERY_DIM, **options), tokens, vectors


def measure_steps(case: str, labels: int, batch: int) -> dict[str, float]:
    """The peak in GB of a step, and its seconds."""
    head, tokens, vectors = make(case, labels, batch)
    targets = (torch.rand(batch, labels) < 0.003).to(torch.int8)
    loss, before, seconds = AsymmetricLoss(), peak_gigabytes(), []
    for _ in range(3 if CASES[case] is None or labels < 5000 else 1):
        start = time.process_time()
        loss(head(tokens, vectors), targets).backward()
        seconds.append(time.process_time() - start)
        head.zero_grad()
    return {"step": min(seconds), "peak": peak_gigabytes() - before}


def peak_gigabytes() -> float:
    """Most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def report(case: str, labels: int, batch: int, most_gb: float) -> None:
    """Prints a line."""
    with FakeTensorMode() if CASES[case] is not None else nullcontext():
        head, *arguments = make(case, labels, batch)
        held = held_bytes(head, arguments) / 1e9
    line = f"{labels:>7}  {case:<20}{held:7.2f} GB"
    if held <= most_gb:
        own = [f"--step={case}", f"--labels={labels}", f"--batch={batch}"]
        # In a process of its own, since a peak of memory lasts.
        result = subprocess.run([sys.executable, __file__, *own], capture_output=True, check=True)
        found = json.loads(result.stdout)
        line += f"{found['peak']:8.2f} GB{found['step']:9.2f} s"
    print(line, flush=True)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, nargs="+", default=[925, 5000, 20_000])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--most_gb", type=float, default=12.0)
    parser.add_argument("--step", choices=CASES, help="Its step alone, as JSON.")
    options = parser.parse_args()
    if options.step:
        print(json.dumps(measure_steps(options.step, options.labels[0], options.batch)))
        return
    print(f"CPU, {torch.get_num_threads()} threads, PyTorch {torch.__version__}")
    print(f"{'labels':>7}  {'decoding':<20}{'held':>10}{'peak':>11}{'step':>11}")
    for labels in options.labels:
        for case in ("full", "full, checkpointed"):
            report(case, labels, options.batch, options.most_gb)
    report("100 groups", MOST_LABELS, options.batch, options.most_gb)


if __name__ == "__main__":
    main()
