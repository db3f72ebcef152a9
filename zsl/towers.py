"""Models with an image tower and a text tower in one space, by their names in open_clip."""

from __future__ import annotations

import json
import logging
import os
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from zsl.errors import InputError, did_you_mean, reason_of, require, shorten
from zsl.preprocessing import Resizing

Tokenizer = Callable[[Sequence[str]], Tensor]

_QUICK_GELU = "-quickgelu"
_CONFIG_FILE = "open_clip_config.json"
_WEIGHT_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
_SMALL_TEXT_TOWER = {"layers": 1, "width": 64, "heads": 1, "vocab_size": 8, "context_length": 4}


class TowerImages(NamedTuple):
    """How the images were made that an image tower was trained on."""

    size: int
    """Side of the square in pixels."""
    resizing: Resizing
    mean: tuple[float, ...]
    """Of pixels in [0, 1], by channel."""
    std: tuple[float, ...]


def find_architecture(name: str, weights: str | None) -> str:
    """Returns the model of open_clip that weights fit, with the activation they were trained with.

    OpenAI's and others need QuickGELU, and have it under another name: `ViT-B-16-quickgelu`.

    Args:
        name: A model of `open_clip.list_models()`.
        weights: One of the model's tags, a file, a folder, or None.

    Raises:
        InputError: open_clip is not installed, or has no such model.
    """
    open_clip, config = _import(), _model_config(name)
    tag = open_clip.pretrained.get_pretrained_cfg(name, weights or "")
    if not tag.get("quick_gelu") or config.get("quick_gelu"):
        return name
    return name + _QUICK_GELU


def same_model(name: str, other: str) -> bool:
    """Whether two names are of one model but for the activation."""
    return name.removesuffix(_QUICK_GELU) == other.removesuffix(_QUICK_GELU)


def absolute_weights(name: str, weights: str | None) -> str | None:
    """Returns weights, the path of a file or folder among them as an absolute one."""
    if weights is None or not Path(weights).exists():
        return weights
    is_tag = _import().pretrained.is_pretrained_cfg(name, weights)
    return weights if is_tag else str(Path(weights).resolve())


def read_tower_images(name: str, weights: str | None) -> TowerImages:
    """Looks up how images are made for a model.

    Args:
        name: A model of `open_clip.list_models()`.
        weights: One of the model's tags; a folder with `open_clip_config.json`, as the hub has it;
            or a file or None, for which the preprocessing of the model's first tag is taken.

    Raises:
        InputError: open_clip is not installed, or has no such model or tag.
    """
    open_clip, config = _import(), _model_config(name)
    _check_weights(name, weights)
    tags = open_clip.list_pretrained_tags_by_model(name)
    found = open_clip.pretrained.get_pretrained_cfg(name, weights or "")
    if not found and weights and Path(weights, _CONFIG_FILE).is_file():
        text = Path(weights, _CONFIG_FILE).read_text(encoding="utf-8")
        found = json.loads(text).get("preprocess_cfg", {})
    if not found and tags:
        found = open_clip.pretrained.get_pretrained_cfg(name, tags[0])
    made = open_clip.transform.merge_preprocess_dict(open_clip.transform.PreprocessCfg(), found)
    mode = made["resize_mode"]
    require(
        mode in ("shortest", "squash"),
        f"{name} resizes images by {mode!r}, which is not known here; expected shortest or squash.",
    )
    resizing = Resizing(made["interpolation"], 1.0 if mode == "shortest" else None)
    size = config["vision_cfg"].get("image_size", 224)
    return TowerImages(size, resizing, tuple(made["mean"]), tuple(made["std"]))


def vector_width(name: str) -> int:
    """Returns the width of a model's image and text vectors.

    Raises:
        InputError: open_clip is not installed, or has no such model.
    """
    width: int = _model_config(name)["embed_dim"]
    return width


def make_towers(name: str, weights: str | None, image_size: int | None = None) -> Any:
    """Makes a model, both towers, with its weights.

    Args:
        name: A model of `open_clip.list_models()`.
        weights: One of the model's tags, which is fetched unless it was before; a file; a folder
            that holds what the hub has of the model; or None for an image tower of random weights
            beside a text tower that is of no use.
        image_size: Side of the square images in pixels; position embeddings are resized to it.
            None takes the model's own.

    Raises:
        InputError: open_clip is not installed, or model or weights can't be had.
    """
    open_clip = _import()
    architecture = find_architecture(name, weights)
    source = _check_weights(name, weights)
    options: dict[str, Any] = {"force_image_size": image_size}
    if weights is None:
        options["text_cfg"] = _SMALL_TEXT_TOWER
    try:
        with _quiet():
            return open_clip.create_model(architecture, source, **options)
    except _LIBRARY_ERRORS as error:
        raise _not_made(name, weights, image_size, error) from error


def make_tokenizer(name: str, weights: str | None) -> Tokenizer:
    """Makes what turns sentences into token numbers (N, context length).

    Args:
        name: A model of `open_clip.list_models()`.
        weights: As of `make_towers`; of a folder the tokenizer is taken too.

    Raises:
        InputError: open_clip is not installed, has no such model, or its tokenizer can't be had.
    """
    open_clip = _import()
    hub = _model_config(name)["text_cfg"].get("hf_tokenizer_name")
    is_folder = weights is not None and Path(weights).is_dir()
    source = f"local-dir:{weights}" if hub and is_folder else name
    try:
        with _quiet():
            tokenizer: Tokenizer = open_clip.get_tokenizer(source)
            return tokenizer
    except _LIBRARY_ERRORS as error:
        raise InputError(
            f"The tokenizer of {name} can't be had ({reason_of(error)}); it comes from {hub} on "
            "the Hugging Face hub: check the connection, or set weights to a folder that holds a "
            f"copy of the model's repository there, {_CONFIG_FILE} and tokenizer included."
        ) from error


_LIBRARY_ERRORS = (
    AssertionError,
    AttributeError,
    ImportError,
    KeyError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)


def _import() -> Any:
    try:
        # Imported here: it takes a second, and most networks have no use for it.
        import open_clip
    except ImportError as error:
        raise InputError(
            f"Models of two towers come from open_clip, which can't be imported ({error}): "
            "pip install open_clip_torch."
        ) from error
    return open_clip


def _model_config(name: str) -> dict[str, Any]:
    open_clip = _import()
    names = open_clip.list_models()
    if name not in names:
        raise InputError(
            f"open_clip {open_clip.__version__} has no model {name!r}; open_clip.list_models() "
            f"lists the names.{did_you_mean(name, names)}"
        )
    config: dict[str, Any] = open_clip.get_model_config(name)
    return config


def _check_weights(name: str, weights: str | None) -> str | None:
    """Returns the tag or the file of weights."""
    if weights is None:
        return None
    open_clip = _import()
    tags = open_clip.list_pretrained_tags_by_model(name)
    path = Path(weights)
    if open_clip.pretrained.is_pretrained_cfg(name, weights) or path.is_file():
        return weights
    if path.is_dir():
        files = [path / file for file in _WEIGHT_FILES if (path / file).is_file()]
        require(
            len(files) > 0,
            f"The folder {weights} holds no weights; expected {' or '.join(_WEIGHT_FILES)}.",
        )
        return str(files[0])
    known = f"one of its tags ({', '.join(tags)}), " if tags else ""
    raise InputError(
        f"{weights!r} is not among the weights of {name}; expected {known}a file, or a folder with "
        f"a copy of the model's repository on the hub.{did_you_mean(weights, tags)}"
    )


def _not_made(
    name: str, weights: str | None, image_size: int | None, error: Exception
) -> InputError:
    # PyTorch lists the tensors that don't fit after a first line that says nothing.
    lists_tensors = str(error).startswith("Error(s) in loading state_dict")
    reason = shorten(reason_of(error, line=1 if lists_tensors else 0), 300)
    if weights is None:
        return InputError(
            f"open_clip can't make {name} for images of {image_size} px ({reason}); take "
            f"{read_tower_images(name, None).size} px, those it was made for."
        )
    if os.path.exists(weights):
        return InputError(f"{weights} can't be read as weights of {name}: {reason}")
    return InputError(
        f"The weights {weights} of {name} can't be had ({reason}); check the connection, or name a "
        "local file, or a folder with a copy of the model's repository on the hub."
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps open_clip's account of what it does, which the root logger would print."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
