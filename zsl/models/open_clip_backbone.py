"""Image towers of open_clip by name: their own image vector and parts of the image beside it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsl.errors import require
from zsl.models.backbone import BackboneConfig, PixelBackbone
from zsl.models.tokens import ToTokens
from zsl.towers import (
    TowerImages,
    find_architecture,
    make_towers,
    read_tower_images,
    vector_width,
)

Reader = Callable[[Any, Tensor], tuple[Tensor, Tensor]]
"""Turns B images into their vectors (B, C) and those of their parts (B, T, C) or (2B, T, C)."""


@dataclass(frozen=True)
class OpenCLIPBackboneConfig(BackboneConfig):
    """The image tower of a model of open_clip: CLIP, SigLIP 2, PE-Core, MobileCLIP 2 and others.

    Its tokens lie in the space of the model's text tower (`zsl.labels.OpenCLIPEncoder`).

    Args:
        name: A model name of `open_clip.list_models()`, e.g. `ViT-B-16` or `ViT-B-16-SigLIP2`.
        weights: One of the model's tags, e.g. `openai` or `webli`; a file; a folder with a copy of
            the model's repository on the hub; None leaves the random initialisation.
        frozen: Trains the head alone: leaves the weights as they are, and rounds the tokens to
            float16, as a feature store keeps them.
        local: Adds a token for each part of the image to the image vector, which comes first.
        distillation: Weight in the loss of the mean absolute difference between the image vector
            and that of the tower before training, for a tower that is trained: MKT's, which is 1
            there (He et al., arXiv 2207.01887).

    Raises:
        InputError: The weight of the distillation is negative, or the tower is frozen.
    """

    name: str = "ViT-B-16"
    weights: str | None = "openai"
    frozen: bool = False
    local: bool = True
    distillation: float = 0.0

    def __post_init__(self) -> None:
        """Refuses distillation of a tower that stays as it is."""
        weight = self.distillation
        require(weight >= 0, f"backbone.distillation is {weight}; expected 0 or more.")
        require(
            weight == 0 or not self.frozen,
            f"backbone.distillation is {weight}, but backbone.frozen is true: a tower that is not "
            "trained stays what it was; set one of them to 0 or false.",
        )

    @property
    def is_random(self) -> bool:
        """Whether `make` draws the weights, so that there is no use in freezing them."""
        return self.weights is None

    @property
    def images(self) -> TowerImages:
        """How the images were made that the weights were trained on."""
        return read_tower_images(self.name, self.weights)

    def make(self, image_size: int) -> OpenCLIPBackbone:
        """Makes the backbone for square images of this side in pixels."""
        return OpenCLIPBackbone(self, image_size)

    def without_weights(self) -> OpenCLIPBackboneConfig:
        """What makes the same backbone where its weights are loaded afterwards."""
        name = find_architecture(self.name, self.weights)
        return replace(self, name=name, weights=None, distillation=0.0)


class OpenCLIPBackbone(PixelBackbone):
    """Turns images into tokens in the space of a text tower.

    The first token is the tower's own image vector, as `encode_image` of open_clip returns it. Each
    other one is what the tower's pooling and projection make of one part of the image alone:

    - of a transformer with a class token, the output of the last block where each patch attends to
      itself alone, so that values are left and what is mixed in is not (MaskCLIP, Zhou et al., ECCV
      2022, arXiv 2112.01071), then norm and projection;
    - of a transformer with attention pooling (SigLIP, PE-Core), the pooling of each patch alone;
    - of what is pooled by a mean (MobileCLIP's FastViT, ConvNeXt), head and projection of each
      part alone;
    - of CLIP's ResNets, MaskCLIP again: value and output projection of the attention pooling.

    Args:
        config: The model, its weights, and what is made of it.
        image_size: Side of the square images in pixels; position embeddings are resized to it.

    Attributes:
        num_prefix_tokens: How many tokens are not parts of the image: the image vector.
        token_dim: Width C of the tokens, that of the model's text vectors.
        logit_scale: What the model multiplies cosines by.
        distillation: Weight of `distance` in the loss.

    Raises:
        InputError: open_clip is not installed, model or weights can't be had, or images of this
            size can't be cut into patches.
    """

    num_prefix_tokens = 1
    logit_scale: Tensor

    def __init__(self, config: OpenCLIPBackboneConfig, image_size: int = 224) -> None:
        super().__init__(config.frozen)
        model = make_towers(config.name, config.weights, image_size)
        self.tower: Any = model.visual
        self.tower.output_tokens = False  # CoCa's would return more than the image vector.
        _check_patches(self.tower, config.name, image_size)
        self.distillation = config.distillation
        # In a list, so that it is neither trained nor saved.
        self._teachers: list[nn.Module] = []
        if config.distillation > 0:
            self._teachers.append(deepcopy(self.tower).eval().requires_grad_(False))
        self.reader: Reader | None = None
        if config.local:
            self.reader = _find_reader(self.tower)
            require(
                self.reader is not None,
                f"The image tower of {config.name} makes no vectors of parts of an image; set "
                "backbone.local false, which leaves the image vector.",
            )
        self.register_buffer("logit_scale", model.logit_scale.detach().exp().reshape(()))
        self.token_dim = vector_width(config.name)
        images = config.images
        self._finish(images.mean, images.std, image_size)

    def train(self, mode: bool = True) -> Self:
        """Sets training mode, but batch norms keep the statistics that the weights came with.

        They are of many more images than a batch has.
        """
        super().train(mode)
        for part in self.tower.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.eval()
        return self

    def _tokens(self, images: Tensor) -> Tensor:
        if self.reader is None:
            return self.tower(images).unsqueeze(1)
        vectors, parts = self.reader(self.tower, images)
        # Of a doubled batch, the second half are the parts on their own.
        return torch.cat([vectors.unsqueeze(1), parts[-images.shape[0] :]], dim=1)

    @property
    def distils(self) -> bool:
        """Whether a copy of the tower before training is at hand."""
        return len(self._teachers) > 0

    def distance(self, images: Tensor, tokens: Tensor) -> Tensor:
        """Returns how far image vectors have moved from those of the tower before training.

        Args:
            images: (B, 3, H, W), uint8 or float in [0, 1].
            tokens: (B, T, C) of these.

        Returns:
            The mean absolute difference of B × C elements.
        """
        (teacher,) = self._teachers
        with torch.no_grad():
            expected = teacher.to(images.device)(self.normalised(images))
        return F.l1_loss(tokens[:, 0].float(), expected.float())


class WithEachAlone(nn.Module):
    """A transformer block that doubles the batch: the second time each token attends to itself.

    Args:
        block: It takes tokens (B, T, C) and an additive `attn_mask` (T, T).
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, tokens: Tensor, *arguments: Any, **options: Any) -> Tensor:
        """Returns tokens (2B, T, C): the block's, then those without any mixing."""
        side = tokens.shape[1]
        itself = torch.eye(side, device=tokens.device, dtype=tokens.dtype)
        alone = {**options, "attn_mask": itself.log()}
        return torch.cat([self.block(tokens, *arguments, **options), self.block(tokens, **alone)])


def _check_patches(tower: Any, name: str, image_size: int) -> None:
    patches = getattr(getattr(tower, "trunk", None), "patch_embed", tower)
    sides = getattr(patches, "patch_size", 32 if hasattr(tower, "attnpool") else 1)
    side = sides if isinstance(sides, int) else sides[0]
    require(
        image_size % side == 0,
        f"Images of {image_size} px can't be cut into the patches of {side} px that {name} takes; "
        f"set data.images.size to a multiple, e.g. {max(1, round(image_size / side)) * side}.",
    )


def _find_reader(tower: Any) -> Reader | None:
    """Makes a tower ready to tell parts of an image apart; None if it can't."""
    if hasattr(tower, "attnpool"):
        return _read_resnet
    if hasattr(tower, "transformer"):
        if tower.attn_pool is not None:
            return None
        if tower.pool_type == "tok":
            tower.transformer.resblocks[-1] = WithEachAlone(tower.transformer.resblocks[-1])
        return _read_transformer
    if hasattr(tower.head, "pool"):
        return None
    if getattr(tower.trunk, "global_pool", None) == "token":
        block = tower.trunk.blocks[-1]
        if "attn_mask" not in signature(block.forward).parameters:
            return None
        tower.trunk.blocks[-1] = WithEachAlone(block)
    return _read_timm


def _read_transformer(tower: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    read = tower.forward_intermediates(
        images, indices=1, normalize_intermediates=True, output_fmt="NLC"
    )
    return read["image_features"][: images.shape[0]], read["image_intermediates"][0] @ tower.proj


def _read_resnet(tower: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    read = tower.forward_intermediates(images, indices=1)
    parts = read["image_intermediates"][0].flatten(2).mT
    return read["image_features"], tower.attnpool.c_proj(tower.attnpool.v_proj(parts))


def _read_timm(tower: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    trunk = tower.trunk
    features = trunk.forward_features(images)
    vectors = tower.head(trunk.forward_head(features[: images.shape[0]]))
    to_tokens = ToTokens.of(trunk)
    parts = to_tokens(features[-images.shape[0] :])
    alone = parts.flatten(0, 1)
    if features.ndim == 4:
        alone = alone[:, None, None] if to_tokens.channels_last else alone[:, :, None, None]
    else:
        # Pooling may drop what it takes for prefix tokens, so these are the part itself too.
        alone = alone[:, None].expand(-1, 1 + getattr(trunk, "num_prefix_tokens", 0), -1)
    alone = tower.head(trunk.forward_head(alone))
    return vectors, alone.unflatten(0, parts.shape[:2])
