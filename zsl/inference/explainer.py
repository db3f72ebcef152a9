"""What in an image speaks for a label, and where the decoder looks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from zsl.errors import require
from zsl.inference.image_batches import ImageLike
from zsl.inference.scorer import PreparedLabels, Scorer
from zsl.models import CLIPHead, contributions

_LABELS_AT_ONCE = 16


class Explainer(Scorer):
    """A scorer that shows the parts of an image that make a label's score."""

    @torch.no_grad()
    def heat_maps(
        self,
        tokens: Tensor,
        labels: Sequence[str] | PreparedLabels,
        columns: Sequence[int] | None = None,
    ) -> Tensor:
        """Returns what each part of an image contributes to a label's logit: (B, L, H', W').

        Positive is evidence for the label, negative against it, measured from an image that is
        everywhere as the image is on average (`zsl.models.contributions`). H' × W' are the
        backbone's tokens; under them is `resizing.seen_part(image)`, by default the whole image,
        squashed.

        Args:
            tokens: (B, T, C), from `token_batches`.
            labels: L names, any; or what `prepare` made of them, to keep for many calls.
            columns: Positions of some of the labels; None takes all.

        Raises:
            InputError: The tagger has no heat maps, or a label no vector.
        """
        self.check_heat_maps()
        prepared = labels
        if not isinstance(prepared, PreparedLabels):
            prepared = self.prepare(self.embed(prepared)[1])
        device = prepared.queries.device
        chosen = range(len(prepared.queries)) if columns is None else columns
        maps = []
        for part in torch.tensor(chosen, device=device).split(_LABELS_AT_ONCE):
            own = self.network.select(prepared.network, prepared.queries, part)
            maps.append(contributions(self.network, tokens, own))
            if prepared.answers is not None:
                maps[-1] *= prepared.answers.scale[part, None]
        return torch.cat(maps, dim=1).unflatten(2, (self.map_side, self.map_side))

    @property
    def has_heat_maps(self) -> bool:
        """Whether the tagger sees parts of an image; others see it as a whole."""
        return self.map_side > 0

    @cached_property
    def map_side(self) -> int:
        """Side of heat maps in tokens; 0 where the image is seen as a whole."""
        head = self.network.head
        image = torch.zeros(1, 3, self.image_size, self.image_size, dtype=torch.uint8)
        num_parts = self.tokens(image).shape[1] - self._num_prefix_tokens
        side = isqrt(num_parts)
        is_whole = side**2 != num_parts or (isinstance(head, CLIPHead) and head.local == 0)
        return side if side > 1 and not is_whole else 0

    def check_heat_maps(self) -> None:
        """Refuses taggers that see an image as a whole.

        Raises:
            InputError: The backbone's tokens are not a square of parts of the image, or the head
                does not look at these.
        """
        require(
            self.has_heat_maps,
            f"The head {type(self.network.head).__name__} does not see a square of parts of the "
            "image, so there are no heat maps; take a checkpoint whose backbone is not pooled, of "
            "CLIP one with backbone.local true and head.local above 0.",
        )

    def attention(
        self,
        images: ImageLike | Sequence[ImageLike],
        labels: Sequence[str] | None = None,
        batch_size: int = 32,
    ) -> Tensor:
        """Returns where the decoder looks for each label, mean over heads: (B, L, H', W').

        It may look where it finds evidence against a label, and labels of one group have one map;
        what speaks for a label is told by `heat_maps`. The weights of a label sum to 1, but for
        what is on a tower's image vector.

        Args:
            images: B paths, or images of Pillow, or one of these.
            labels: L names, any; None takes the model's own.
            batch_size: Images per batch.

        Raises:
            InputError: The head has no attention, an image can't be read, or a label has no vector.
        """
        decoder: Any = self.network.head
        require(
            hasattr(decoder, "attention"),
            f"The head {type(decoder).__name__} has no attention; take a checkpoint of ML-Decoder, "
            "or heat maps.",
        )
        self.check_heat_maps()
        _, queries = self.embed(labels)
        maps = []
        for tokens in self.token_batches(images, batch_size):
            with torch.no_grad():
                weights = decoder.attention(tokens, queries).float()
            maps.append(weights[:, :, self._num_prefix_tokens :].cpu())
        require(len(maps) > 0, "There are no images to look at; give one at least.")
        return torch.cat(maps).unflatten(2, (self.map_side, self.map_side))

    @property
    def _num_prefix_tokens(self) -> int:
        """Tokens that are not parts of the image: the image vector of a tower."""
        return getattr(self.network.backbone, "num_prefix_tokens", 0)
