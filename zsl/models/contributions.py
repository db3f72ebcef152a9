"""What each part of an image contributes to the logit of a label."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from zsl.models.network import TaggerNetwork

_STEPS = 8
"""With so many, those of trained heads add up to within a hundredth of the difference."""


def contributions(network: TaggerNetwork, tokens: Tensor, queries: Any) -> Tensor:
    """Returns what each token contributes to the logit of each label, for or against it.

    Integrated gradients (Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks",
    ICML 2017, arXiv 1703.01365): the gradient of the logit times the token's difference from the
    image's mean token, where the gradient is averaged along the straight way from an image of which
    every token is the mean one. So those of a label add up to the difference between its logits for
    the two images. They are exact where a score is a sum over tokens: closed form, bilinear map.

    Args:
        network: In evaluation mode. All that makes its logits counts: head, closed form and
            competition with the seen labels.
        tokens: (B, T, C).
        queries: As `TaggerNetwork.score` takes them, L labels.

    Returns:
        float32 (B, L, N) of the N tokens that are parts of the image; a tower's image vector stays
        what it is.
    """
    return torch.stack([_of_image(network, image, queries) for image in tokens])


def _of_image(network: TaggerNetwork, tokens: Tensor, queries: Any) -> Tensor:
    """Returns the contributions (L, N) of the tokens (T, C) of an image."""
    num_prefix_tokens = getattr(network.backbone, "num_prefix_tokens", 0)
    difference = tokens - tokens[num_prefix_tokens:].mean(dim=0)
    difference[:num_prefix_tokens] = 0
    left = (torch.arange(_STEPS, device=tokens.device, dtype=tokens.dtype) + 0.5) / _STEPS - 1
    with torch.enable_grad():
        way = (tokens + left[:, None, None] * difference).detach().requires_grad_()
        logits = network.score(way, queries).sum(dim=0)
        rows = []
        for logit in logits:
            (gradients,) = torch.autograd.grad(logit, way, retain_graph=True)
            rows.append((gradients.float().mean(dim=0) * difference.float()).sum(dim=1))
    return torch.stack(rows)[:, num_prefix_tokens:]
