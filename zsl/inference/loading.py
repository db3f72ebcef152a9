"""What a tagger is made of: plain values and tensors of a checkpoint or a shared folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from zsl.files.checkpoints import read_checkpoint
from zsl.files.class_paths import restore_part
from zsl.labels import LabelEncoder, Role, Vocabulary, encoder_from_recipe
from zsl.models import (
    BackboneConfig,
    ClosedFormConfig,
    FixedHeadConfig,
    HeadConfig,
    ScoresConfig,
    TaggerNetwork,
)

_PARTS = ("backbone", "head", "closed_form", "scores")


def checkpoint_values(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Reads a checkpoint: the plain arguments of a `Tagger`, and tensors by name.

    Raises:
        InputError: It is missing, damaged, or not a checkpoint of this version.
    """
    checkpoint = read_checkpoint(path)
    contents = checkpoint.contents
    arguments = {
        "names": contents.names,
        "roles": contents.roles,
        "image_size": contents.image_size,
        "resizing": contents.resizing,
        "encoder": contents.encoder,
        "model": {name: checkpoint.settings.get(name) for name in _PARTS},
        "scores_are_log_odds": contents.scores_are_log_odds,
        "scores_are_softmax": contents.scores_are_softmax,
        "data": _describe_data(contents.data),
        "data_fingerprint": contents.data_fingerprint,
        "results": _results_beside(path),
        "version": contents.version,
    }
    return arguments, checkpoint.tensors


def restore_parts(
    arguments: Mapping[str, Any], tensors: Mapping[str, Tensor], trust_code: bool
) -> tuple[LabelEncoder | None, TaggerNetwork]:
    """Makes the label encoder and the network, whose weights are yet to be loaded.

    Args:
        arguments: Plain arguments of a `Tagger`.
        tensors: The label vectors among them, unless the classes are fixed.
        trust_code: Whether classes outside of zsl may be imported.

    Raises:
        InputError: A class is not trusted, or can't be imported.
    """
    # First of all what has another form in earlier versions.
    recipe = arguments["encoder"]
    head = FixedHeadConfig if recipe is None else HeadConfig
    parts: dict[str, type] = {"backbone": BackboneConfig, "head": head}
    if recipe is not None:
        parts |= {"closed_form": ClosedFormConfig, "scores": ScoresConfig}
    given = {name: arguments["model"].get(name) for name in parts}
    model: dict[str, Any] = {
        name: None if part is None else restore_part(part, parts[name], trust_code)
        for name, part in given.items()
    }
    vocabulary = Vocabulary.ordered(arguments["names"], arguments["roles"])
    encoder = vectors = None
    if recipe is not None:
        vectors = tensors["network.label_vectors"]
        encoder = encoder_from_recipe(recipe, trust_code)
        encoder.remember(vocabulary.names, vectors)
    network = TaggerNetwork.make(
        model["backbone"].without_weights(),
        model["head"],
        arguments["image_size"],
        vectors,
        len(vocabulary.select(Role.SEEN)),
        model.get("scores"),
        model.get("closed_form"),
    )
    return encoder, network


def _describe_data(recipe: Mapping[str, Any]) -> str:
    """Class and folder's name; the path of the data is not for others to see."""
    root = recipe["init_args"].get("root")
    name: str = recipe["class_path"].rpartition(".")[2]
    return name + (f" ({Path(root).name})" if root else "")


def _results_beside(checkpoint: Path) -> dict[str, Any] | None:
    """Figures and protocol of the run's results.json, if this is its best checkpoint."""
    if checkpoint.stem != "best":
        return None
    try:
        text = (checkpoint.resolve().parent.parent / "results.json").read_text(encoding="utf-8")
        results = json.loads(text)
        # Of the rules that were compared, the first of each kind of label is the checkpoint's own.
        by_group = {row["group"]: row for row in reversed(results.get("decisions", []))}
        own = {name: results[name] for name in ("protocol", "metrics")}
        return own | {"decisions": [*reversed(by_group.values())]}
    except (OSError, ValueError, KeyError):
        return None
