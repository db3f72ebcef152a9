"""The classes that a backbone was trained to name: what it knows besides the labels of the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from timm.data import ImageNetInfo, infer_imagenet_subset
from torch import Tensor, nn

from zsl.errors import InputError, require
from zsl.models.backbone import BackboneConfig, TimmBackboneConfig, create_model
from zsl.models.baselines import cosine
from zsl.models.heads import HeadConfig
from zsl.models.tokens import ToTokens, without_autocast

_LEAST_DEVIATION = 1e-6


class OwnClasses(NamedTuple):
    """K classes of a linear classifier on the mean of a backbone's tokens."""

    names: list[str]
    """One name of each, e.g. `goldfish`."""
    descriptions: list[str]
    """All names and the definition of each, by WordNet."""
    weights: Tensor
    """float32 (K, C)."""

    def vectors(self, encode: Callable[[list[str]], Tensor]) -> Tensor:
        """Returns vectors (K, W) of length 1, of name and description in equal parts.

        Args:
            encode: Returns the vectors (K, W) of K texts, of length 1.
        """
        return F.normalize(encode(self.names) + encode(self.descriptions), dim=1)


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


@dataclass(frozen=True)
class OwnClassesConfig(HeadConfig):
    """A classifier of any label, mixed from those of a backbone's own classes; never trained.

    Args:
        temperature: How far classes count that are less like the label than others.

    Raises:
        InputError: The number is out of range.
    """

    scores_are_log_odds: ClassVar[bool] = False
    trains_queries: ClassVar[bool] = False

    temperature: float = 0.07

    def __post_init__(self) -> None:
        """Refuses a temperature that is not positive."""
        require(
            self.temperature > 0,
            f"head.temperature is {self.temperature}; expected a number above 0.",
        )

    def make(self, token_dim: int, seen_vectors: Tensor) -> OwnClassesHead:
        """Makes the head for the classes with these vectors; it is yet to be given the weights."""
        return OwnClassesHead(token_dim, seen_vectors, self.temperature)


class MixedWeights(NamedTuple):
    """What an `OwnClassesHead` computes of L labels before it sees an image."""

    weights: Tensor
    """(L, C), of length 1."""


class OwnClassesHead(nn.Module):
    """Scores any labels, given as vectors, by the classes of a classifier that are like them.

    The weights of a label are those of K classes, each by how much it is like the label:

    `w = Σ_k a_k w_k` with `a = softmax_k(cos(v, v_k) / τ)`,

    and its score is `x̄ · w / ‖w‖`, in standard deviations of the K scores `x̄ · w_k` that the
    classes get in the same image. x̄ is the mean of an image's tokens; the w_k have the mean 0 and
    a mean length of 1. What ConSE (Norouzi et al., arXiv 1312.5650) does with the vectors of the
    classes is done with their weights.

    Args:
        token_dim: Width C of the backbone's tokens.
        class_vectors: float32 (K, W) vectors of the classes.
        temperature: τ.

    Attributes:
        weights: float32 (K, C), zero until `set_weights`.
    """

    class_vectors: Tensor
    weights: Tensor

    def __init__(self, token_dim: int, class_vectors: Tensor, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.to_tokens = ToTokens()
        self.register_buffer("class_vectors", class_vectors.detach().clone())
        self.register_buffer("weights", torch.zeros(len(class_vectors), token_dim))

    def set_weights(self, weights: Tensor) -> None:
        """Takes the weights (K, C) of the classes."""
        centred = weights - weights.mean(dim=0)
        self.weights.copy_(centred / centred.norm(dim=1).mean())

    def prepare(self, queries: Tensor) -> MixedWeights:
        """Returns what `forward` and `answer` need of label vectors (L, W), to keep for many calls.

        It is valid only while the weights of the head, its dtype and its device stay the same.
        """
        with without_autocast(queries):
            alike = cosine(queries, self.class_vectors) / self.temperature
            mixed = alike.softmax(dim=1) @ self.weights.to(alike.dtype)
            return MixedWeights(F.normalize(mixed, dim=1))

    def forward(self, features: Tensor, queries: Tensor | MixedWeights) -> Tensor:
        """Returns scores (B, L).

        Args:
            features: Tokens (B, T, C) or a map (B, C, H, W).
            queries: (L, W) label vectors, or what `prepare` made of them.
        """
        return self.answer(self.remember(features), queries)

    def remember(self, features: Tensor) -> Tensor:
        """Returns what scoring needs of the features, whatever the labels: float32 (B, C)."""
        mean = self.to_tokens(features).mean(dim=1)
        with without_autocast(mean):
            mean = mean.to(torch.promote_types(mean.dtype, torch.float32))
            of_classes = mean @ self.weights.to(mean.dtype).T
            deviation = of_classes.std(dim=1, correction=0, keepdim=True)
            return mean / deviation.clamp(min=_LEAST_DEVIATION)

    def answer(self, remembered: Tensor, queries: Tensor | MixedWeights) -> Tensor:
        """Returns the scores of `forward`, by what `remember` made of the features."""
        prepared = queries if isinstance(queries, MixedWeights) else self.prepare(queries)
        with without_autocast(remembered):
            return remembered @ prepared.weights.to(remembered.dtype).T
