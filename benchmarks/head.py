"""The ML-Decoder heads beside the published loop form, and beside pooling and a linear layer.

python benchmarks/head.py [--labels 81 1006 9605]

Tokens (16, 49, 2432) as of timm's tresnet_l at 224 px (the published TResNet-L has 2048), label
vectors (L, 300), 100 groups, width 768. A training
step is forward, asymmetric loss and backward. Times are the best of several rounds, in
turn; ratios are to the first of a row. Of one image, label vectors that were prepared once are
measured beside those that are not. Contenders of the same mathematics have the same weights,
and their outputs are compared first. timm's head, the published code in new clothes, crashes on
current PyTorch; here its decoder is called around the crash. The loop over thousands of words is
measured with one image: its backward pass takes time and memory quadratic in the labels.

With a GPU, the training step of 925 labels with a batch of 56 in bf16, and the head's share of a
step of TResNet-L.
"""

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import timm
import torch
from timm.layers.ml_decoder import MLDecoder as TimmMLDecoder
from timm.layers.ml_decoder import TransformerDecoderLayerOptimal
from torch import Tensor, nn

from zsl.losses import AsymmetricLoss
from zsl.models import (
    FixedMLDecoder,
    GroupedWordMLDecoder,
    WordMLDecoder,
    add_ml_decoder_head,
)
from zsl.models.published import to_published

TOKENS, TOKEN_DIM, QUERY_DIM, GROUPS = 49, 2432, 300, 100
MOST_LABELS = 100_000


class PublishedWords(nn.Module):
    """The published head of words: queries repeated for each image, read out in a loop."""

    def __init__(self, ours: WordMLDecoder) -> None:
        super().__init__()
        dim = ours.readout.in_features
        self.embed_standart = nn.Linear(TOKEN_DIM, dim)
        self.wordvec_proj = nn.Linear(QUERY_DIM, dim)
        self.layers = nn.ModuleList([TransformerDecoderLayerOptimal(dim)])
        self.duplicate_pooling = nn.Parameter(torch.empty(dim, 1))
        self.duplicate_pooling_bias = nn.Parameter(torch.empty(1))
        tensors = to_published(ours, prefix="")
        self.load_state_dict({k.removeprefix("decoder."): v for k, v in tensors.items()})

    def forward(self, tokens: Tensor, queries: Tensor) -> Tensor:
        """Returns logits (B, L)."""
        memory = self.embed_standart(tokens).relu().transpose(0, 1)
        target = self.wordvec_proj(queries).relu()[:, None].expand(-1, len(tokens), -1)
        decoded = self.layers[0](target, memory).transpose(0, 1)
        logits = decoded.new_zeros(*decoded.shape[:2], 1)
        for label in range(decoded.shape[1]):
            logits[:, label, :] = decoded[:, label, :] @ self.duplicate_pooling
        return logits.flatten(1) + self.duplicate_pooling_bias


def timm_head(ours: FixedMLDecoder) -> nn.Module:
    """Timm's head with the weights of ours."""
    theirs = TimmMLDecoder(len(ours.readout.bias), initial_num_features=TOKEN_DIM)
    theirs.load_state_dict(to_published(ours, "timm", ""))
    layer = theirs.decoder.layers[0]
    theirs.decoder.forward = lambda target, memory: layer(target, memory)
    return theirs


class PooledLinear(nn.Module):
    """Global average pooling and a linear layer: what a head costs at least."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(TOKEN_DIM, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns logits (B, N)."""
        return self.linear(tokens.mean(1))


class Contender:
    """A head with its inputs, ready for a step."""

    def __init__(self, name: str, head: nn.Module, arguments: list[Any], targets: Tensor) -> None:
        self.name, self.head, self.arguments, self.targets = name, head, arguments, targets
        self.loss = AsymmetricLoss()
        self.best: dict[str, float] = {}

    def train(self) -> None:
        """One training step without the optimizer."""
        self.head.train().zero_grad()
        self.loss(self.head(*self.arguments), self.targets).backward()

    def infer(self) -> None:
        """One forward pass without gradients."""
        with torch.no_grad():
            self.head.eval()(*self.arguments)


def seconds(step: Callable[[], None]) -> float:
    """Wall clock of a step, on the GPU until it is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(contenders: list[Contender], kinds: tuple[str, ...], rounds: int = 9) -> None:
    """Fills in the best times; slow steps have fewer rounds."""
    for kind in kinds:
        for contender in contenders:
            first = seconds(getattr(contender, kind))
            contender.best[kind] = first if first > 10 else float("inf")
        for _ in range(rounds):
            for contender in contenders:
                if contender.best[kind] > 10 and contender.best[kind] != float("inf"):
                    continue
                contender.best[kind] = min(contender.best[kind], seconds(getattr(contender, kind)))


def report(title: str, contenders: list[Contender], kinds: tuple[str, ...]) -> None:
    """Prints times, ratios to the first contender and time per label."""
    print(f"\n{title}")
    ours = contenders[0]
    for contender in contenders:
        line = f"  {contender.name:<34}"
        for kind in kinds:
            best = contender.best[kind]
            per_label = best / contender.targets.numel() * 1e6
            ratio = best / ours.best[kind]
            line += f"{kind} {best * 1e3:9.1f} ms {ratio:7.2f}x {per_label:8.2f} us a label   "
        print(line.rstrip(), flush=True)


def check(contenders: list[Contender]) -> None:
    """Compares the outputs with those of the first contender."""
    with torch.no_grad():
        expected, *others = [c.head.eval()(*c.arguments) for c in contenders]
    for logits in others:
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def inputs(batch: int, labels: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, label vectors and targets with three labels in a hundred present."""
    tokens = torch.randn(batch, TOKENS, TOKEN_DIM, device=device)
    targets = (torch.rand(batch, labels, device=device) < 0.03).to(torch.int8)
    return tokens, torch.randn(labels, QUERY_DIM, device=device), targets


def measure(labels: int, batch: int, device: str) -> None:
    """All modes at one number of labels."""
    kinds = ("train", "infer")
    tokens, vectors, targets = inputs(batch, labels, device)
    fixed = FixedMLDecoder(TOKEN_DIM, labels).to(device)
    contenders = [
        Contender("ours", fixed, [tokens], targets),
        Contender("timm's (the published form)", timm_head(fixed).to(device), [tokens], targets),
    ]
    check(contenders)
    contenders.append(
        Contender("pooling + linear", PooledLinear(labels).to(device), [tokens], targets)
    )
    compare(contenders, kinds)
    report(f"{labels} fixed classes, {batch} images", contenders, kinds)

    loop_batch = 1 if labels > 2000 else batch
    words = WordMLDecoder(TOKEN_DIM, QUERY_DIM).to(device)
    arguments = [tokens[:loop_batch], vectors]
    contenders = [
        Contender("ours", words, arguments, targets[:loop_batch]),
        Contender(
            "published loop", PublishedWords(words).to(device), arguments, targets[:loop_batch]
        ),
    ]
    check(contenders)
    compare(contenders, kinds)
    report(f"{labels} words, {loop_batch} images", contenders, kinds)

    groups = vectors[torch.randperm(labels)[:GROUPS]]
    grouped = GroupedWordMLDecoder(TOKEN_DIM, groups).to(device)
    contenders = [
        Contender(f"ours, {len(groups)} groups", grouped, [tokens, vectors], targets),
        Contender("ours, full decoding", words, [tokens, vectors], targets),
    ]
    compare(contenders, kinds)
    report(f"{labels} words in groups, {batch} images", contenders, kinds)
    for name, head in (("full decoding", words), (f"{len(groups)} groups", grouped)):
        measure_prepared(f"{labels} words, 1 image, {name}", head, tokens[:1], vectors, targets[:1])


@torch.no_grad()
def measure_prepared(
    title: str,
    head: WordMLDecoder | GroupedWordMLDecoder,
    tokens: Tensor,
    vectors: Tensor,
    targets: Tensor,
) -> None:
    """What it gains to keep what `prepare` makes of the label vectors."""
    prepared = head.eval().prepare(vectors)
    contenders = [
        Contender("ours, prepared", head, [tokens, prepared], targets),
        Contender("ours", head, [tokens, vectors], targets),
    ]
    check(contenders)
    compare(contenders, ("infer",), rounds=30)
    report(title, contenders, ("infer",))


def measure_large(device: str) -> None:
    """Groups of words at the most labels; to be called first, as a peak of memory lasts."""
    labels, batch = MOST_LABELS, 16
    tokens, vectors, targets = inputs(batch, labels, device)
    grouped = GroupedWordMLDecoder(TOKEN_DIM, vectors[:GROUPS]).to(device)
    contenders = [Contender(f"ours, {GROUPS} groups", grouped, [tokens, vectors], targets)]
    print(f"peak memory so far: {peak_gigabytes(device):.2f} GB")
    for kind in ("infer", "train"):
        compare(contenders, (kind,), rounds=3)
        report(f"{labels} words in groups, {batch} images", contenders, (kind,))
        print(f"  peak memory so far: {peak_gigabytes(device):.2f} GB")


def peak_gigabytes(device: str) -> float:
    """Most memory that this process has held, or the GPU for it."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def measure_gpu() -> None:
    """The published recipe's step: 925 labels, 56 images, bf16."""
    batch, labels = 56, 925
    tokens, vectors, targets = inputs(batch, labels, "cuda")
    words = WordMLDecoder(TOKEN_DIM, QUERY_DIM).cuda()
    contenders = [
        Contender("ours", words, [tokens, vectors], targets),
        Contender("published loop", PublishedWords(words).cuda(), [tokens, vectors], targets),
    ]
    check(contenders)
    model = timm.create_model("tresnet_v2_l")
    images = torch.rand(batch, 3, 224, 224, device="cuda")
    tagger = add_ml_decoder_head(model, query_dim=QUERY_DIM).cuda()
    whole = Contender("TResNet-L with ours", tagger, [images, vectors], targets)
    with torch.autocast("cuda", torch.bfloat16):
        compare([*contenders, whole], ("train",), rounds=20)
    report(f"{labels} words, {batch} images, bf16", [*contenders, whole], ("train",))
    print(f"  head's share of the step: {contenders[0].best['train'] / whole.best['train']:.0%}")


def main() -> None:
    """Measures on the CPU or, if there is one, on the GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, nargs="+", default=[81, 1006, 9605])
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"{device}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}")
    measure_large(device)
    for labels in options.labels:
        torch.manual_seed(0)
        measure(labels, options.batch, device)
    if device == "cuda":
        measure_gpu()


if __name__ == "__main__":
    main()
