"""Backbone and head together."""

from __future__ import annotations

from typing import Any, Self

from torch import Tensor, nn

from zsl.errors import require
from zsl.models.backbone import BackboneConfig
from zsl.models.fixed_heads import FixedHeadConfig
from zsl.models.heads import HeadConfig


class TaggerNetwork(nn.Module):
    """Scores labels for images: any, given as vectors, or those of a head of fixed classes.

    What is trained, shared and exported: a task and a `Tagger` hold the same tensors by the same
    names.

    Args:
        backbone: Images to features, which the head takes as tokens: `Backbone`, or a timm model
            without pooling.
        head: Turns tokens and label vectors into logits.
        label_vectors: float32 (L, W) of the labels that the network is queried with by default;
            None for a head of fixed classes.
    """

    label_vectors: Tensor | None

    def __init__(
        self, backbone: nn.Module, head: nn.Module, label_vectors: Tensor | None = None
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.register_buffer("label_vectors", label_vectors)

    @classmethod
    def make(
        cls,
        backbone: BackboneConfig,
        head: HeadConfig | FixedHeadConfig,
        image_size: int,
        label_vectors: Tensor | None,
        num_seen: int,
    ) -> Self:
        """Makes backbone and head for a vocabulary.

        Args:
            backbone: Makes the backbone.
            head: Makes the head.
            image_size: Side of the square images in pixels.
            label_vectors: float32 (L, W); None for a head of fixed classes.
            num_seen: How many of the labels are trained; they come first. Of fixed classes all are.

        Raises:
            InputError: A setting is out of range, or the backbone or its weights can't be had.
        """
        is_size = isinstance(image_size, int) and image_size > 0
        require(is_size, f"image_size is {image_size!r}; expected a number of pixels, 1 or more.")
        made: Any = backbone.make(image_size)
        if isinstance(head, FixedHeadConfig):
            return cls(made, head.make(made.token_dim, num_seen))
        assert label_vectors is not None
        scorer: Any = head.make(made.token_dim, label_vectors[:num_seen])
        if hasattr(made, "logit_scale") and hasattr(scorer, "logit_scale"):
            scorer.logit_scale.copy_(made.logit_scale)
        return cls(made, scorer, label_vectors)

    def prepare(self, queries: Tensor) -> Any:
        """Does the head's work on queries, as `score` takes them, that needs no image.

        Returns:
            What `score` takes in place of the queries, for as long as its weights stay as they are.
        """
        prepare = getattr(self.head, "prepare", None)
        return prepare(queries) if prepare else queries

    def forward(self, images: Tensor, queries: Any = None) -> Tensor:
        """Returns logits (B, L).

        Args:
            images: (B, 3, H, W), as the backbone takes them: `Backbone` uint8, or float in [0, 1].
            queries: As `score` takes them.
        """
        return self.score(self.backbone(images), queries)

    def score(self, tokens: Tensor, queries: Any = None) -> Tensor:
        """Returns logits (B, L).

        Args:
            tokens: What the backbone makes of B images.
            queries: float32 (L, W) label vectors, or what `prepare` made of them; for a head of
                fixed classes int64 (L,), the positions of some. None takes the network's own
                labels.
        """
        queries = self.label_vectors if queries is None else queries
        if queries is None:
            return self.head(tokens)
        if isinstance(queries, Tensor) and not queries.is_floating_point():
            return self.head(tokens)[:, queries]
        return self.head(tokens, queries)
