"""The ML-Decoder head on any timm model."""

from __future__ import annotations

import copy
from typing import Any, Unpack

import torch
from timm.data import resolve_model_data_config
from torch import Tensor

from zsl.errors import InputError, reason_of, require
from zsl.models.fixed_ml_decoder import FixedMLDecoder
from zsl.models.grouped_ml_decoder import GroupedWordMLDecoder
from zsl.models.ml_decoder import DecoderOptions, MLDecoder
from zsl.models.network import TaggerNetwork
from zsl.models.tokens import ToTokens
from zsl.models.word_ml_decoder import WordMLDecoder

ImageShape = tuple[int, int, int] | None


def add_ml_decoder_head(
    model: Any,
    num_classes: int | None = None,
    num_groups: int | None = None,
    *,
    query_dim: int | None = None,
    group_queries: Tensor | None = None,
    image_shape: ImageShape = None,
    **options: Unpack[DecoderOptions],
) -> Any:
    """Replaces pooling and classifier of a timm model by an ML-Decoder head.

    ```
    add_ml_decoder_head(model)                            # logits = model(images)
    add_ml_decoder_head(model, query_dim=300)             # logits = tagger(images, vectors)
    add_ml_decoder_head(model, group_queries=centres)     # logits = tagger(images, vectors)
    ```

    Args:
        model: A timm model whose features before the pooling are a map or tokens.
        num_classes: Number N of fixed classes; None takes the model's.
        num_groups: Number K of queries for fixed classes; None takes 100, or N where it is less.
        query_dim: Width W of label vectors, for words instead of fixed classes.
        group_queries: (K, W) queries of groups of words, as from `group_labels`.
        image_shape: Channels, height and width of the images that the model takes; None takes those
            of timm's description of it.
        **options: `embed_dim`, `num_heads`, `feedforward_dim`, `dropout` and `grad_checkpointing`
            of `MLDecoder`; timm's own dropout before the classifier (`drop_rate`) stays.

    Returns:
        For fixed classes the model itself, with the head as its classifier; a `TaggerNetwork` of
        model and head where that doesn't work, as with two classifiers. For words always a
        `TaggerNetwork`, since a timm model's `forward` takes no label vectors.

    Raises:
        InputError: The model, or the choice of mode, can't work; the model is unchanged.
    """
    fixed = query_dim is None and group_queries is None
    if not fixed and (num_classes is not None or num_groups is not None):
        raise InputError("num_classes and num_groups are for fixed classes; leave them out.")
    if query_dim is not None and group_queries is not None:
        raise InputError("query_dim and group_queries are two modes; give one of them.")
    to_tokens, features = _inspect(model, image_shape)
    token_dim = to_tokens(features).shape[2]
    head: MLDecoder
    if query_dim is not None:
        head = WordMLDecoder(token_dim, query_dim, **options)
    elif group_queries is not None:
        head = GroupedWordMLDecoder(token_dim, group_queries, **options)
    else:
        num_classes = model.num_classes if num_classes is None else num_classes
        require(num_classes >= 1, f"{_name(model)} has no classes of its own; give num_classes.")
        head = FixedMLDecoder(token_dim, num_classes, num_groups, **options)
    head.to_tokens = to_tokens
    head.to(next(model.parameters())).train(model.training)
    if isinstance(head, FixedMLDecoder) and _can_install(model, head, features, image_shape):
        return _install(model, head)
    model.reset_classifier(0, "")
    return TaggerNetwork(model, head)


def _inspect(model: Any, image_shape: ImageShape) -> tuple[ToTokens, Tensor]:
    """Tries the model without pooling and classifier; returns its features and their layout."""
    if hasattr(model, "_orig_mod"):
        raise InputError("The model is compiled; add the head first, then compile.")
    if not (hasattr(model, "reset_classifier") and hasattr(model, "pretrained_cfg")):
        raise InputError(
            f"{type(model).__name__} is not a timm model with a classifier; make one "
            "with timm.create_model(name)."
        )
    try:
        trial = copy.deepcopy(model)
        trial.reset_classifier(0, "")
        features = _try(trial, image_shape)
    except Exception as error:
        reason = reason_of(error)
        raise InputError(
            f"{_name(model)} without its pooling gives an ML-Decoder head no tokens ({reason}); "
            "choose another timm model, or, if it takes images of another size or number of "
            "channels, give image_shape."
        ) from error
    if not isinstance(features, Tensor) or features.ndim not in (3, 4):
        found = f"the shape {tuple(features.shape)}" if isinstance(features, Tensor) else "parts"
        raise InputError(
            f"The features of {_name(model)} before the classifier have {found}; an ML-Decoder "
            "head needs a map (B, C, H, W) or tokens (B, T, C), so choose another timm model."
        )
    to_tokens = ToTokens.of(trial)
    num_tokens = to_tokens(features).shape[1]
    if num_tokens < 2:
        raise InputError(
            f"{_name(model)} gives {num_tokens} spatial tokens before the classifier, so that "
            "there is nothing to attend to; choose another timm model, or larger images."
        )
    return to_tokens, features


def _can_install(
    model: Any, head: FixedMLDecoder, features: Tensor, image_shape: ImageShape
) -> bool:
    """Whether the model works with the head where timm says that its classifier is."""
    if not isinstance(model.pretrained_cfg.get("classifier"), str):
        return False  # Distilled models have two.
    trial = copy.deepcopy(head).eval()
    with torch.no_grad():
        trial(features)  # What fails here is not the model's fault.
    try:
        logits = _try(_install(copy.deepcopy(model), trial), image_shape)
    except Exception:  # Each family does something else with what it did not expect.
        return False
    return isinstance(logits, Tensor) and logits.shape == (1, len(head.readout.bias))


def _install(model: Any, head: FixedMLDecoder) -> Any:
    model.reset_classifier(0, "")
    parent, _, attribute = model.pretrained_cfg["classifier"].rpartition(".")
    setattr(model.get_submodule(parent), attribute, head)
    model.num_classes = len(head.readout.bias)
    return model


@torch.no_grad()
def _try(model: Any, image_shape: ImageShape) -> Any:
    """Runs a black image through the model in evaluation mode."""
    weight = next(model.parameters())
    image_shape = image_shape or resolve_model_data_config(model)["input_size"]
    return model.eval()(torch.zeros(1, *image_shape, device=weight.device, dtype=weight.dtype))


def _name(model: Any) -> str:
    return model.pretrained_cfg.get("architecture") or type(model).__name__
