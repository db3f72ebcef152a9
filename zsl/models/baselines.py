"""Heads without a decoder, for comparison: DeViSE, Fast0Tag, ConSE, CLIP.

All of them see the mean of an image's tokens, and score a label by a dot product with its vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsl.errors import require
from zsl.models.heads import HeadConfig
from zsl.models.tokens import ToTokens, without_autocast


def unit_dot(vectors: Tensor, queries: Tensor) -> Tensor:
    """Returns `x · v / ‖v‖` (…, L) of vectors x (…, W) and label vectors v (L, W)."""
    with without_autocast(vectors):
        vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
        return vectors @ F.normalize(queries, dim=1).to(vectors.dtype).T


def cosine(vectors: Tensor, queries: Tensor) -> Tensor:
    """Returns the cosines (…, L) of vectors (…, W) and label vectors (L, W)."""
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    return unit_dot(F.normalize(vectors, dim=-1), queries)


@dataclass(frozen=True)
class BilinearConfig(HeadConfig):
    """A bilinear map of image and label vector."""

    def make(self, token_dim: int, seen_vectors: Tensor) -> BilinearHead:
        """Makes the head."""
        return BilinearHead(token_dim, seen_vectors.shape[1])


class BilinearHead(nn.Module):
    """Scores any labels, given as vectors, by `(A x̄ + a) · v / ‖v‖ + b`.

    x̄ is the mean of an image's tokens, A a learned map from width C to the vectors' width W. After
    DeViSE (Frome et al., 2013), trained with the loss of the other heads.

    Args:
        token_dim: Width C of the backbone's tokens.
        query_dim: Width W of the label vectors.
    """

    def __init__(self, token_dim: int, query_dim: int) -> None:
        super().__init__()
        self.to_tokens = ToTokens()
        self.map = nn.Linear(token_dim, query_dim)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, features: Tensor, queries: Tensor) -> Tensor:
        """Returns logits (B, L) of tokens (B, T, C) or a map for label vectors (L, W)."""
        mapped = self.map(self.to_tokens(features).mean(dim=1))
        return unit_dot(mapped, queries) + self.bias


@dataclass(frozen=True)
class Fast0TagConfig(HeadConfig):
    """Fast0Tag, to be trained with `zsl.losses.RankingLoss`.

    Args:
        hidden_dim: Width of the hidden layer.
        dropout: Dropout rate on the hidden layer.

    Raises:
        InputError: A number is out of range.
    """

    hidden_dim: int = 2048
    dropout: float = 0.1

    def __post_init__(self) -> None:
        """Refuses numbers that make no hidden layer."""
        require(self.hidden_dim >= 1, f"head.hidden_dim is {self.hidden_dim}; expected 1 or more.")
        require(0 <= self.dropout < 1, f"head.dropout is {self.dropout}; expected 0 to below 1.")

    def make(self, token_dim: int, seen_vectors: Tensor) -> Fast0TagHead:
        """Makes the head."""
        return Fast0TagHead(token_dim, seen_vectors.shape[1], self.hidden_dim, self.dropout)


class Fast0TagHead(nn.Module):
    """Scores any labels, given as vectors, by `f(x̄) · v / ‖v‖`.

    x̄ is the mean of an image's tokens, f a network with one hidden layer that finds the image's
    principal direction in the space of the label vectors.

    Zhang, Gong and Shah, "Fast Zero-Shot Image Tagging", CVPR 2016, arXiv 1605.09759;
    their network is deeper. Trained with `zsl.losses.RankingLoss`.

    Args:
        token_dim: Width C of the backbone's tokens.
        query_dim: Width W of the label vectors.
        hidden_dim: Width of the hidden layer.
        dropout: Dropout rate on the hidden layer.
    """

    def __init__(self, token_dim: int, query_dim: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.to_tokens = ToTokens()
        self.direction = nn.Sequential(
            nn.Linear(token_dim, hidden_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, query_dim),
        )

    def forward(self, features: Tensor, queries: Tensor) -> Tensor:
        """Returns logits (B, L) of tokens (B, T, C) or a map for label vectors (L, W)."""
        return unit_dot(self.direction(self.to_tokens(features).mean(dim=1)), queries)


@dataclass(frozen=True)
class ConSEConfig(HeadConfig):
    """ConSE, a classifier of the seen labels whose vectors stand in for the image.

    Args:
        num_combined: Seen labels whose vectors are combined, the paper's T.

    Raises:
        InputError: The number is out of range.
    """

    scores_are_log_odds: ClassVar[bool] = False
    trains_queries: ClassVar[bool] = False

    num_combined: int = 10

    def __post_init__(self) -> None:
        """Refuses a combination of nothing."""
        require(
            self.num_combined >= 1, f"head.num_combined is {self.num_combined}; expected 1 or more."
        )

    def make(self, token_dim: int, seen_vectors: Tensor) -> ConSEHead:
        """Makes the head."""
        return ConSEHead(token_dim, seen_vectors, self.num_combined)


class ConSEHead(nn.Module):
    """Scores any labels by the cosine with a convex combination of the seen labels' vectors.

    A linear classifier of the seen labels is trained on the mean of an image's tokens. With p the
    probabilities that it gives the T most probable ones, the vector of the image is
    `Σ_t p_t v_t / ‖v_t‖ / Σ_t p_t`, which is compared with the vector of a label, seen or not.

    Norouzi et al., "Zero-Shot Learning by Convex Combination of Semantic Embeddings",
    arXiv 1312.5650. Their labels exclude each other, so their probabilities are a
    softmax; an image has several of ours, so these are sigmoids.

    Args:
        token_dim: Width C of the backbone's tokens.
        seen_vectors: (S, W) vectors of the seen labels; fixed, saved with the head.
        num_combined: Number T of seen labels in the combination, at most S of them.

    Raises:
        InputError: The number is out of range.
    """

    seen_vectors: Tensor

    def __init__(self, token_dim: int, seen_vectors: Tensor, num_combined: int = 10) -> None:
        super().__init__()
        self.num_combined = min(num_combined, len(seen_vectors))
        self.to_tokens = ToTokens()
        self.classify = nn.Linear(token_dim, len(seen_vectors))
        self.register_buffer("seen_vectors", seen_vectors.detach().clone())

    def forward(self, features: Tensor, queries: Tensor) -> Tensor:
        """Returns cosines (B, L); in training mode the classifier's logits (B, S).

        Args:
            features: Tokens (B, T, C) or a map (B, C, H, W).
            queries: (L, W) label vectors; in training mode those of the seen labels.

        Raises:
            InputError: In training mode there are more or fewer queries than seen labels.
        """
        logits = self.classify(self.to_tokens(features).mean(dim=1))
        if not self.training:
            return cosine(self._combine(logits), queries)
        require(
            len(queries) == len(self.seen_vectors),
            f"ConSE's classifier was given {len(queries)} queries in training; expected the "
            f"{len(self.seen_vectors)} seen ones.",
        )
        return logits

    def _combine(self, logits: Tensor) -> Tensor:
        """Returns the vectors (B, W) that stand for the images."""
        top, labels = logits.to(self.seen_vectors.dtype).topk(self.num_combined, dim=1)
        # p / Σ p, whatever underflows.
        shares = F.logsigmoid(top).softmax(dim=1)
        return (shares.unsqueeze(2) * F.normalize(self.seen_vectors, dim=1)[labels]).sum(dim=1)


@dataclass(frozen=True)
class CLIPConfig(HeadConfig):
    """Image and text towers as they are: cosines of the image vector, and of parts of the image.

    Args:
        local: Weight of the parts' cosines beside the image vector's, from 0 to 1. MKT takes 0.5.
        top_k: Parts of the image whose cosines with a label are averaged: its best, MKT's 16.

    Raises:
        InputError: A number is out of range.
    """

    scores_are_log_odds: ClassVar[bool] = False

    local: float = 0.0
    top_k: int = 16

    def __post_init__(self) -> None:
        """Refuses numbers out of range."""
        require(0 <= self.local <= 1, f"head.local is {self.local}; expected 0 to 1.")
        require(self.top_k >= 1, f"head.top_k is {self.top_k}; expected 1 or more.")

    def make(self, token_dim: int, seen_vectors: Tensor) -> CLIPHead:
        """Refuses an image tower and a text tower of different models."""
        require(
            token_dim == seen_vectors.shape[1],
            f"The backbone embeds images in {token_dim} numbers, the encoder labels in "
            f"{seen_vectors.shape[1]}; the head of CLIP compares the two, so take the image tower "
            "and the text tower of one model (OpenCLIPBackboneConfig and OpenCLIPEncoder).",
        )
        return CLIPHead(self.local, self.top_k)


class CLIPHead(nn.Module):
    """Scores any labels, given as vectors of a text tower, by cosines with its image tower's.

    The score is `s ((1 - w) cos(x, v) + w mean_k cos(x_k, v))`: x is the image vector, which is the
    first token, x_k are the k other tokens nearest to the label, which stand for parts of the
    image. s is what the model multiplies cosines by: 100 unless the backbone tells another. Nothing
    is trained.

    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
    arXiv 2103.00020; He et al., "Open-Vocabulary Multi-Label Classification via Multi-Modal
    Knowledge Transfer", arXiv 2207.01887, for the parts, there with w = 1/2 and k = 16.

    Args:
        local: The weight w.
        top_k: The number k, at most that of the parts.
    """

    logit_scale: Tensor

    def __init__(self, local: float = 0.0, top_k: int = 16) -> None:
        super().__init__()
        self.local = local
        self.top_k = top_k
        self.to_tokens = ToTokens()
        self.register_buffer("logit_scale", torch.tensor(100.0))

    def forward(self, features: Tensor, queries: Tensor) -> Tensor:
        """Returns logits (B, L) of tokens (B, 1 + T, W) for label vectors (L, W).

        Raises:
            InputError: Parts count, but the image vector is the only token.
        """
        tokens = self.to_tokens(features)
        scores = cosine(tokens[:, 0], queries)
        if self.local > 0:
            num_parts = tokens.shape[1] - 1
            require(
                num_parts > 0,
                f"head.local is {self.local}, but the backbone returns the image vector alone; set "
                "backbone.local true, or head.local 0.",
            )
            parts = cosine(tokens[:, 1:], queries).topk(min(self.top_k, num_parts), dim=1)
            scores = (1 - self.local) * scores + self.local * parts.values.mean(dim=1)
        return self.logit_scale * scores

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *others: Any) -> None:
        # Checkpoints of earlier versions have no scale, which was always this.
        state.setdefault(prefix + "logit_scale", torch.tensor(100.0))
        super()._load_from_state_dict(state, prefix, *others)
