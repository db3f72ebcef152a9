"""The classes that a backbone was trained to name: what it knows besides the labels of the data."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from timm.data import ImageNetInfo, infer_imagenet_subset
from torch import Tensor

from zsl.errors import InputError
from zsl.models.backbone import BackboneConfig, TimmBackboneConfig, create_model


class OwnClasses(NamedTuple):
    """K classes of a linear classifier on the mean of a backbone's tokens."""

    names: list[str]
    """One name of each, e.g. `goldfish`."""
    descriptions: list[str]
    """All names and the definition of each, by WordNet."""
    weights: Tensor
    """float32 (K, C)."""


def own_classes(config: BackboneConfig, image_size: int) -> OwnClasses | None:
    """Reads a backbone's own classifier.

    Args:
        config: The backbone, with its weights.
        image_size: Side of the square images in pixels.

    Returns:
        The classes; None where the weights come without a classifier, its classes have no names, or
        it takes something else than the mean of the tokens.
    """
    if not isinstance(config, TimmBackboneConfig) or config.weights is None or config.pooled:
        return None
    if config.stride is not None:
        return None
    try:
        model = create_model(replace(config, pooled=True), image_size).eval()
    except InputError:  # A file of weights may have none of a classifier.
        return None
    subset = infer_imagenet_subset(model)
    classifier = model.get_classifier()
    weights = getattr(classifier, "weight", None)
    if subset is None or weights is None:
        return None
    weights = weights.detach().float().flatten(1)
    if not _sees_mean_token(model, weights, classifier.bias, image_size):
        return None
    info = ImageNetInfo(subset)
    described = [
        info.index_to_description(index, detailed=True) for index in range(info.num_classes())
    ]
    names = [text.partition(":")[0].partition(",")[0].strip() for text in described]
    return OwnClasses(names, described, weights) if len(names) == len(weights) else None


@torch.no_grad()
def _sees_mean_token(
    model: torch.nn.Module, weights: Tensor, bias: Tensor | None, size: int
) -> bool:
    """Whether the classifier is linear in the mean of the final features."""
    images = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    features = model.forward_features(images)  # type: ignore[operator]
    if features.ndim != 4 or features.shape[1] != weights.shape[1]:
        return False
    expected = F.linear(features.mean(dim=(2, 3)), weights, bias)
    found = model.forward_head(features)  # type: ignore[operator]
    return torch.allclose(found, expected, rtol=1e-3, atol=1e-3)
