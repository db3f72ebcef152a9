"""The published ML-Decoder head, written out from its description as a naive loop."""

from collections.abc import Mapping

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]


def published_logits(
    t: Tensors, tokens: Tensor, queries: Tensor | None = None, query_relu: bool = True
) -> Tensor:
    """Logits (B, N) of fixed classes, or (B, L) of label vectors `queries` (L, W).

    Args:
        t: The tensors of the head by their official names, without any prefix.
        tokens: (B, T, C).
        queries: Given for a head of words.
        query_relu: False leaves out the published ReLU on their projection.
    """
    if queries is None:
        targets = list(t["query_embed.weight"])
    else:
        targets = [linear(t, "wordvec_proj", query) for query in queries]
        targets = [target.clamp(min=0) for target in targets] if query_relu else targets
    rows = []
    for image in tokens:
        memory = [linear(t, "embed_standart", token).clamp(min=0) for token in image]
        outputs = [decode(t, target, memory) for target in targets]
        if queries is None:
            pooled = [h @ w for h, w in zip(outputs, t["duplicate_pooling"], strict=True)]
            num_classes = len(t["duplicate_pooling_bias"])
            rows.append(torch.cat(pooled)[:num_classes] + t["duplicate_pooling_bias"])
        else:
            pooled = [h @ t["duplicate_pooling"] + t["duplicate_pooling_bias"] for h in outputs]
            rows.append(torch.cat(pooled))
    return torch.stack(rows)


def decode(t: Tensors, target: Tensor, memory: list[Tensor]) -> Tensor:
    """One query (D,) through the decoder layer, in evaluation mode."""
    target = norm(t, "layers.0.norm1", target + target)
    target = norm(t, "layers.0.norm2", target + attend(t, target, memory))
    hidden = linear(t, "layers.0.linear1", target).clamp(min=0)
    return norm(t, "layers.0.norm3", target + linear(t, "layers.0.linear2", hidden))


def attend(t: Tensors, target: Tensor, memory: list[Tensor], num_heads: int = 8) -> Tensor:
    """Multi-head attention of one query, head by head."""
    attention = "layers.0.multihead_attn"
    dim = len(target)
    weights = t[f"{attention}.in_proj_weight"].split(dim)
    biases = t[f"{attention}.in_proj_bias"].split(dim)
    query = weights[0] @ target + biases[0]
    keys = [weights[1] @ m + biases[1] for m in memory]
    values = [weights[2] @ m + biases[2] for m in memory]
    width = dim // num_heads
    heads = []
    for head in range(num_heads):
        part = slice(head * width, (head + 1) * width)
        scores = torch.stack([query[part] @ key[part] / width**0.5 for key in keys])
        shares = scores.exp() / scores.exp().sum()
        heads.append(torch.stack([s * v[part] for s, v in zip(shares, values, strict=True)]).sum(0))
    return linear(t, f"{attention}.out_proj", torch.cat(heads))


def linear(t: Tensors, name: str, x: Tensor) -> Tensor:
    return t[f"{name}.weight"] @ x + t[f"{name}.bias"]


def norm(t: Tensors, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean()
    deviation = ((centred**2).mean() + 1e-5).sqrt()
    return centred / deviation * t[f"{name}.weight"] + t[f"{name}.bias"]
