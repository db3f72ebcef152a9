"""Names and shapes of the official checkpoints, spelled out from the official code.

https://github.com/Alibaba-MIIL/ML_Decoder: `src_files/models/tresnet/tresnet.py`,
`src_files/ml_decoder/ml_decoder.py`.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

Shapes = Iterator[tuple[str, tuple[int, ...]]]

LAYERS = {"m": (3, 4, 11, 3), "l": (3, 4, 23, 3), "xl": (3, 8, 34, 5)}


def official_shapes(
    size: str, num_classes: int | None, counters: bool = True, groups: int = 100
) -> dict[str, tuple[int, ...]]:
    """A TResNet M, L or XL with its head; `num_classes` None is the head for words.

    Args:
        size: `m`, `l` or `xl`.
        num_classes: Number of fixed classes.
        counters: Whether the file has the counters of batches, which older versions lack.
        groups: Number of queries, where there are as many classes.
    """
    shapes = dict([*_body(LAYERS[size], bottleneck_first=size != "m"), *_head(num_classes, groups)])
    if counters:
        norms = [name for name in shapes if name.endswith(".running_mean")]
        shapes |= {name.replace("running_mean", "num_batches_tracked"): () for name in norms}
    return shapes


def official_tensors(num_classes: int) -> dict[str, Tensor]:
    """A TResNet-M by its official names and shapes; no file of ours is in it."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in official_shapes("m", num_classes).items():
        scale = 0.1 if name.startswith("head.") else 0.03
        tensors[name] = scale * torch.randn(shape, generator=generator)
        if name.endswith(("running_var", "norm1.weight", "norm2.weight", "norm3.weight")):
            tensors[name] = torch.ones(shape)
    tensors["head.decoder.query_embed.weight"] *= 10
    return tensors


def _body(layers: tuple[int, ...], bottleneck_first: bool) -> Shapes:
    yield from _convolution("body.conv1", 3 * 16, 64, 3)
    width_in = 64
    for stage, num_blocks in enumerate(layers):
        width, bottleneck = 64 * 2**stage, bottleneck_first or stage > 1
        width_out = 4 * width if bottleneck else width
        for block in range(num_blocks):
            prefix, halves = f"body.layer{stage + 1}.{block}.", block == 0 and stage > 0
            if block == 0 and (halves or width_in != width_out):
                # Where it halves, an average pooling comes first.
                yield from _convolution(f"{prefix}downsample.{int(halves)}", width_in, width_out, 1)
            # Where it halves, the convolution is the first of two, before a blur.
            nested = ".0" if halves else ""
            if bottleneck:
                yield from _convolution(f"{prefix}conv1", width_in, width, 1)
                yield from _convolution(f"{prefix}conv2{nested}", width, width, 3)
                yield from _convolution(f"{prefix}conv3", width, width_out, 1)
            else:
                yield from _convolution(f"{prefix}conv1{nested}", width_in, width, 3)
                yield from _convolution(f"{prefix}conv2", width, width, 3)
            if stage < 3:
                squeezed = max(width_out // (8 if bottleneck else 4), 64)
                yield f"{prefix}se.fc1.weight", (squeezed, width, 1, 1)
                yield f"{prefix}se.fc1.bias", (squeezed,)
                yield f"{prefix}se.fc2.weight", (width, squeezed, 1, 1)
                yield f"{prefix}se.fc2.bias", (width,)
            width_in = width_out


def _convolution(name: str, width_in: int, width_out: int, side: int) -> Shapes:
    yield f"{name}.0.weight", (width_out, width_in, side, side)
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.1.{part}", (width_out,)


def _head(num_classes: int | None, groups: int, token_dim: int = 2048) -> Shapes:
    dim, hidden, decoder = 768, 2048, "head.decoder."
    linears = {
        f"{decoder}embed_standart": (dim, token_dim),
        f"{decoder}layers.0.multihead_attn.out_proj": (dim, dim),
        f"{decoder}layers.0.linear1": (hidden, dim),
        f"{decoder}layers.0.linear2": (dim, hidden),
    }
    if num_classes is None:
        linears["head.wordvec_proj"] = (dim, 300)
        yield f"{decoder}duplicate_pooling", (dim, 1)
        yield f"{decoder}duplicate_pooling_bias", (1,)
    else:
        groups = min(groups, num_classes)
        yield f"{decoder}query_embed.weight", (groups, dim)
        yield f"{decoder}duplicate_pooling", (groups, dim, -(-num_classes // groups))
        yield f"{decoder}duplicate_pooling_bias", (num_classes,)
    for name, shape in linears.items():
        yield f"{name}.weight", shape
        yield f"{name}.bias", shape[:1]
    for norm in (1, 2, 3):
        yield f"{decoder}layers.0.norm{norm}.weight", (dim,)
        yield f"{decoder}layers.0.norm{norm}.bias", (dim,)
    yield f"{decoder}layers.0.multihead_attn.in_proj_weight", (3 * dim, dim)
    yield f"{decoder}layers.0.multihead_attn.in_proj_bias", (3 * dim,)
