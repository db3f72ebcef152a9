"""Label vectors by the text tower of a model of open_clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsl.errors import require
from zsl.labels.encoders.encoder import Scale
from zsl.labels.encoders.sentence_encoder import SentenceEncoder
from zsl.towers import Tokenizer, absolute_weights, make_tokenizer, make_towers, same_model

# The seven that OpenAI's notebook of prompts for ImageNet ends up with.
CLIP_TEMPLATES = [
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
]


class OpenCLIPEncoder(SentenceEncoder):
    """Embeds label names with the text tower of a model of open_clip.

    Args:
        model: A model name of `open_clip.list_models()`. None takes model and weights of the
            network's backbone, a `zsl.models.OpenCLIPBackboneConfig`.
        weights: One of the model's tags, a file, or a folder with a copy of the model's repository
            on the hub, whose tokenizer is taken too. None takes those of the backbone.
        template: The sentence to embed, with `{}` in place of the name; of several, the mean is
            taken; `clip` stands for the seven of CLIP's authors.
        normalize: Divides the vector of each sentence by its length before the mean is taken.
        scale: Scale of the result: `unit_norm`, `unit_variance`, or None to leave it.
        texts: Texts of the labels, as `SentenceEncoder` takes them.

    Raises:
        InputError: A template has no `{}`.
    """

    batch_size = 256

    def __init__(
        self,
        model: str | None = None,
        weights: str | None = None,
        template: str | list[str] = "a photo of a {}.",
        normalize: bool = True,
        scale: Scale | None = None,
        texts: str | None = None,
    ) -> None:
        templates = CLIP_TEMPLATES if template == "clip" else template
        super().__init__("", templates, normalize, scale, texts)
        # Not as a folder, which it may be to the encoders of sentence-transformers.
        self.model = model or ""
        self.weights = absolute_weights(self.model, weights)

    @property
    def arguments(self) -> dict[str, Any]:
        """Model, weights, templates, normalisation, texts."""
        named = {"model": self.model or None, "weights": self.weights}
        return super().arguments | named

    @property
    def files(self) -> list[Path]:
        """The files of the weights, unless they are fetched."""
        path = Path(self.weights or "no file")
        return sorted(path.rglob("*")) if path.is_dir() else [path]

    def without_texts(self) -> OpenCLIPEncoder:
        """Returns an encoder of the same model that embeds names alone."""
        return OpenCLIPEncoder(
            self.model or None, self.weights, self.templates, self.normalize, self.scale
        )

    def pair_with(self, model: str, weights: str | None) -> None:
        """Takes model and weights of an image tower, in place of those not named.

        Args:
            model: The model of the image tower.
            weights: Its weights; not taken for another model.
        """
        self.model = self.model or model
        if self.weights is None and same_model(self.model, model):
            self.weights = absolute_weights(model, weights)

    def _load(self) -> _TextTower:
        model, weights = self.model, self.weights
        require(
            model != "",
            "encoder.model is null, which takes the model of the backbone "
            "zsl.models.OpenCLIPBackboneConfig, but there is none; name a model, such as ViT-B-16, "
            "and its weights.",
        )
        require(
            weights is not None,
            f"encoder.weights is null, and so is what it would be taken from; name the weights of "
            f"{model}: a text tower that was never trained makes no vectors of use.",
        )
        return _TextTower(make_towers(model, weights), make_tokenizer(model, weights))


class _TextTower(nn.Module):
    """A text tower that is used as a model of sentence-transformers.

    Args:
        model: Both towers; the image tower is taken off.
        tokenizer: Turns sentences into token numbers.
    """

    def __init__(self, model: Any, tokenizer: Tokenizer) -> None:
        super().__init__()
        del model.visual
        self.model = model.eval()
        self.tokenizer = tokenizer

    def forward(self, sentences: Sequence[str]) -> Tensor:
        """Returns the vectors (B, W) of a batch of sentences."""
        tokens = self.tokenizer(sentences).to(next(self.parameters()).device)
        vectors: Tensor = self.model.encode_text(tokens)
        return vectors

    @torch.no_grad()
    def encode(
        self,
        sentences: Sequence[str],
        batch_size: int,
        normalize_embeddings: bool = False,
        **_: Any,
    ) -> Tensor:
        """Returns the vectors (N, W) of N sentences."""
        self.to("cuda" if torch.cuda.is_available() else "cpu")
        starts = range(0, len(sentences), batch_size)
        vectors = torch.cat([self(sentences[start : start + batch_size]) for start in starts])
        return F.normalize(vectors) if normalize_embeddings else vectors
