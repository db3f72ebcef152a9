"""Published ML-Decoder checkpoints into our heads, and back.

The official code keeps the head's tensors under `head.decoder.` (TResNet) or `fc.decoder.`
(ResNet), timm's port directly under the head. https://github.com/Alibaba-MIIL/ML_Decoder,
`timm.layers.ml_decoder`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import timm
import torch
from torch import Tensor, nn

from zsl.errors import InputError, require
from zsl.models.backbone import convert_checkpoint
from zsl.models.fixed_ml_decoder import FixedMLDecoder
from zsl.models.ml_decoder import MLDecoder
from zsl.models.word_ml_decoder import WordMLDecoder

Style = Literal["official", "timm"]

_NUM_HEADS = 8
_PROJECTIONS = ("query", "key", "value")
_MODULES = {
    "embed_tokens": "embed_standart",
    "layer.norm1": "layers.0.norm1",
    "layer.norm2": "layers.0.norm2",
    "layer.norm3": "layers.0.norm3",
    "layer.attention.out": "layers.0.multihead_attn.out_proj",
    "layer.feedforward.0": "layers.0.linear1",
    "layer.feedforward.3": "layers.0.linear2",
}


class LoadReport(NamedTuple):
    """What `load_published` did not match, by name."""

    unused: list[str]
    """Tensors of the checkpoint for which the model has none."""
    untouched: list[str]
    """Tensors of the model that the checkpoint does not have, batch counters left out."""


def load_published(model: nn.Module, checkpoint: str | Path | Mapping[str, Tensor]) -> LoadReport:
    """Loads a published checkpoint into a head, or into a model that holds one.

    The head's tensors are all checked by name and shape before anything is changed. Of a timm
    model around it, those tensors are loaded too that have the same name and shape, after timm's
    own conversion of official names.

    Args:
        model: A `FixedMLDecoder` or `WordMLDecoder`, or a module that holds one.
        checkpoint: The path of a PyTorch or safetensors file, or its tensors by name; averaged
            weights are taken where a file has them.

    Returns:
        The names that are left over on both sides.

    Raises:
        InputError: The file can't be read, or its head is not one like the model's.
    """
    model = getattr(model, "_orig_mod", model)  # Compiled.
    tensors, source = _read(checkpoint)
    head_name, head = _find_head(model)
    style, prefix = _find_published(tensors, source)
    wanted = {_key(name, style, prefix): name for name in _to_published(head)}
    found = {name: tensors[key] for key, name in wanted.items() if key in tensors}
    _check(head, found, source)
    state = {head_name + name: tensor for name, tensor in _from_published(found).items()}
    expected = model.state_dict()
    rest = {key: tensor for key, tensor in tensors.items() if key not in wanted}
    rest = _of_backbone(model, _without_wrapper(rest, prefix))
    fitting = {
        key: tensor
        for key, tensor in rest.items()
        if key in expected and tensor.shape == expected[key].shape
    }
    model.load_state_dict(state | fitting, strict=False)
    untouched = {
        # Batch counters, which change nothing; not every file of a TResNet has them.
        key
        for key in set(expected) - set(fitting | state)
        if not key.endswith(".num_batches_tracked")
    }
    return LoadReport(sorted(set(rest) - set(fitting)), sorted(untouched))


def published_classes(checkpoint: str | Path) -> list[str] | None:
    """Returns the class names of an official checkpoint in their order, if it has them.

    Args:
        checkpoint: The path of a PyTorch file, which `load_published` has read.
    """
    try:
        found = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception:  # Another format, such as safetensors: there are no names in it.
        return None
    names = found.get("idx_to_class") if isinstance(found, Mapping) else None
    return [str(names[index]) for index in sorted(names, key=int)] if names else None


def to_published(
    head: MLDecoder, style: Style = "official", prefix: str = "head."
) -> dict[str, Tensor]:
    """Returns the head's tensors under their published names.

    Args:
        head: A `FixedMLDecoder` or `WordMLDecoder` with 8 attention heads.
        style: `official`, or `timm`, whose port knows fixed classes only.
        prefix: What stands before all names: `head.` for TResNet, `fc.` for ResNet, or nothing.

    Raises:
        InputError: No published head is like this one.
    """
    if style == "timm" and isinstance(head, WordMLDecoder):
        raise InputError("timm's head has fixed classes only; choose the style 'official'.")
    require(style in ("official", "timm"), f"There is no style {style!r}; official and timm are.")
    return {_key(name, style, prefix): t.clone() for name, t in _to_published(head).items()}


def _key(name: str, style: Style, prefix: str) -> str:
    """The name in a checkpoint of a tensor of the published decoder."""
    within = name.startswith("layers.") or style == "official"
    return prefix + ("decoder." if within and not name.startswith("wordvec_proj") else "") + name


def _to_published(head: MLDecoder) -> dict[str, Tensor]:
    """The head's tensors by their published names, without prefix."""
    if not isinstance(head, FixedMLDecoder | WordMLDecoder):
        raise InputError(
            f"{type(head).__name__} has no published counterpart; "
            "only FixedMLDecoder and WordMLDecoder have."
        )
    if head.layer.attention.num_heads != _NUM_HEADS:
        raise InputError(
            f"The head has {head.layer.attention.num_heads} attention heads, but published ones "
            f"have {_NUM_HEADS}; make it with num_heads={_NUM_HEADS}."
        )
    require(
        head.query_relu,
        "The head has no ReLU on its queries, but published ones have; make it with "
        "query_relu=True.",
    )
    own = head.state_dict()
    published = {}
    for kind in ("weight", "bias"):
        for name, theirs in _MODULES.items():
            published[f"{theirs}.{kind}"] = own[f"{name}.{kind}"]
        published[f"layers.0.multihead_attn.in_proj_{kind}"] = torch.cat(
            [own[f"layer.attention.{name}.{kind}"] for name in _PROJECTIONS]
        )
    published["duplicate_pooling_bias"] = own["readout.bias"]
    if isinstance(head, FixedMLDecoder):
        published["query_embed.weight"] = own["group_queries"]
        published["duplicate_pooling"] = own["readout.weight"]
    else:
        weight = own["embed_queries.weight"]
        published["wordvec_proj.weight"] = (
            weight if head.span is None else weight @ head.span @ head.span.T
        )
        published["wordvec_proj.bias"] = own["embed_queries.bias"]
        published["duplicate_pooling"] = own["readout.weight"].T
    return published


def _from_published(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The reverse of `_to_published`."""
    own = {}
    for kind in ("weight", "bias"):
        for name, theirs in _MODULES.items():
            own[f"{name}.{kind}"] = published[f"{theirs}.{kind}"]
        stacked = published[f"layers.0.multihead_attn.in_proj_{kind}"].chunk(len(_PROJECTIONS))
        for name, tensor in zip(_PROJECTIONS, stacked, strict=True):
            own[f"layer.attention.{name}.{kind}"] = tensor
    own["readout.bias"] = published["duplicate_pooling_bias"]
    if "query_embed.weight" in published:
        own["group_queries"] = published["query_embed.weight"]
        own["readout.weight"] = published["duplicate_pooling"]
    else:
        own["embed_queries.weight"] = published["wordvec_proj.weight"]
        own["embed_queries.bias"] = published["wordvec_proj.bias"]
        own["readout.weight"] = published["duplicate_pooling"].T
    return own


def _read(checkpoint: str | Path | Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The tensors of a checkpoint, and what to call it."""
    if isinstance(checkpoint, Mapping):
        for wrapping in ("state_dict", "model"):
            if isinstance(checkpoint.get(wrapping), Mapping):
                return _read(checkpoint[wrapping])  # type: ignore[arg-type]
        return {k: v for k, v in checkpoint.items() if isinstance(v, Tensor)}, "The checkpoint"
    if not Path(checkpoint).is_file():
        raise InputError(f"The checkpoint {checkpoint} does not exist; expected a file.")
    try:
        tensors = dict(timm.models.load_state_dict(str(checkpoint), weights_only=True))
    except Exception as error:  # Other files fail in many ways.
        raise InputError(
            f"{checkpoint} can't be read: it is damaged, or holds other things than tensors by "
            "name; if you trust it, load it with torch.load(..., weights_only=False) and give that."
        ) from error
    return tensors, str(checkpoint)


def _without_wrapper(tensors: dict[str, Tensor], head_prefix: str) -> dict[str, Tensor]:
    """Cuts off what a wrapper, e.g. data-parallel, has put before all names, the head's too."""
    wrapper = head_prefix.rpartition(".")[0].rpartition(".")[0] + "."
    if all(key.startswith(wrapper) for key in tensors):
        return {key.removeprefix(wrapper): tensor for key, tensor in tensors.items()}
    return tensors


def _find_head(model: nn.Module) -> tuple[str, MLDecoder]:
    """The only ML-Decoder head in a model, and the prefix of its tensors."""
    heads = [(name, part) for name, part in model.named_modules() if isinstance(part, MLDecoder)]
    if len(heads) != 1:
        raise InputError(
            f"{type(model).__name__} holds {len(heads)} ML-Decoder heads; expected one, e.g. from "
            "add_ml_decoder_head."
        )
    ((name, head),) = heads
    return f"{name}." if name else "", head


def _find_published(tensors: Mapping[str, Tensor], source: str) -> tuple[Style, str]:
    """The style of the published head among the tensors, and its prefix."""
    ending = "embed_standart.weight"
    starts = [key.removesuffix(ending) for key in tensors if key.endswith(ending)]
    if len(starts) != 1:
        raise InputError(
            f"{source} holds {len(starts)} tensors that end with {ending}; expected one, as "
            "checkpoints of the official ML-Decoder and of timm's have."
        )
    (start,) = starts
    if f"{start}layers.0.linear1.weight" in tensors:
        return "official", start.removesuffix("decoder.")
    return "timm", start


def _check(head: MLDecoder, found: Mapping[str, Tensor], source: str) -> None:
    """Compares a published head with ours, mode first."""
    words = "duplicate_pooling" in found and found["duplicate_pooling"].ndim == 2
    if words != isinstance(head, WordMLDecoder):
        mode = "words, for a WordMLDecoder" if words else "fixed classes, for a FixedMLDecoder"
        raise InputError(f"{source} holds a head of {mode}; the model has a {type(head).__name__}.")
    for name, own in _to_published(head).items():
        if name not in found:
            raise InputError(f"{source} lacks the head's tensor {name}.")
        if found[name].shape != own.shape:
            mend = "make the head with the widths, classes and groups of the checkpoint"
            if name == "embed_standart.weight":
                mend = "take the backbone, and the head's width, of the checkpoint"
            raise InputError(
                f"{source}: {name} has the shape {tuple(found[name].shape)}, but the model's head "
                f"needs {tuple(own.shape)}; {mend}."
            )


def _of_backbone(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames the tensors of a backbone, if the model holds a timm model, as that one has them."""
    for name, part in model.named_modules():
        if hasattr(part, "forward_features") and tensors:
            converted = convert_checkpoint(part, tensors)
            return {f"{name}.{key}" if name else key: converted[key] for key in converted}
    return tensors
