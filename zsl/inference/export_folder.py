"""The folder of an exported model: the model, its label vectors, and how to use them."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from zsl.errors import InputError, require
from zsl.files.atomic import PREFIX, atomic_files
from zsl.inference.export_formats import (
    FILE_NAMES,
    PACKAGES,
    TOLERANCE,
    Difference,
    Format,
    export_tagger,
)
from zsl.inference.tagger import Tagger
from zsl.models import Answers
from zsl.versions import versions

_LABELS, _RECORD = "labels.npz", "model.json"
_OWN = {*FILE_NAMES.values(), "model.onnx.data", _LABELS, _RECORD}
_MADE_WITH = "zsl.export"


def check_output(folder: Path) -> None:
    """Refuses a folder in which something else than an earlier export would be lost.

    Raises:
        InputError: It is a file, or holds other files.
    """
    require(
        folder.is_dir() or not folder.exists(), f"The output {folder} is a file; name a folder."
    )
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    found = {name for name in names if not name.startswith(PREFIX)}
    if found and not (found <= _OWN and _is_export(folder / _RECORD)):
        raise InputError(
            f"The output {folder} holds {min(found - _OWN or found)!r}, which is not of an "
            "earlier export; name a new or an empty folder."
        )


def _is_export(record: Path) -> bool:
    try:
        return json.loads(record.read_text(encoding="utf-8"))["made_with"] == _MADE_WITH
    except (OSError, ValueError, LookupError, TypeError):
        return False


def write_export(tagger: Tagger, kind: Format, names: list[str] | None, output: Path) -> Difference:
    """Writes a tagger's model, its label vectors and `model.json`, all or nothing.

    Args:
        tagger: The model and its labels.
        kind: Format of the model.
        names: Labels to build in; None makes the label vectors an input, or builds all in where
            the classes are fixed.
        output: Folder, passed by `check_output`.

    Returns:
        How far the file's logits are from PyTorch's.

    Raises:
        InputError: A name has no vector, label vectors can't be an input, or the exported model
            scores otherwise than PyTorch.
        OSError: The folder can't be written.
    """
    own, queries = tagger.embed(names)
    names = own if tagger.encoder is None else names
    require(
        names is not None or tagger.network.scores is None,
        "This tagger standardises the scores of a label by training images, which a file can't do "
        "for label vectors that are an input; build labels in with --labels checkpoint, or with "
        "--labels 'dog, beach'.",
    )
    answers = None if names is None else tagger.prepare(queries).answers
    with atomic_files(output, _RECORD, _OWN) as folder:
        difference = export_tagger(
            tagger.network,
            queries,
            names is not None,
            tagger.image_size,
            folder / FILE_NAMES[kind],
            kind,
            answers,
        )
        require(
            difference.is_small,
            f"The model as {kind} scores up to {difference.largest:.1e} otherwise than in PyTorch, "
            f"whose logits reach {difference.largest_logit:.1f}; more than {TOLERANCE:.0e} of that "
            "is refused, so nothing was written; try another version of torch, or --format "
            f"{'torch_export' if kind == 'onnx' else 'onnx'}.",
        )
        if names is None:
            np.savez(
                folder / _LABELS,
                names=np.array(own),
                roles=np.array([role.value for role in tagger.vocabulary.roles]),
                vectors=queries.numpy(),
            )
        record = _describe(tagger, kind, names, answers) | {"difference": difference._asdict()}
        text = json.dumps(record, indent=2, ensure_ascii=False)
        (folder / _RECORD).write_text(text, encoding="utf-8")
    return difference


def _describe(
    tagger: Tagger, kind: Format, names: list[str] | None, answers: Answers | None
) -> dict[str, Any]:
    """What the user of the file must know, in plain values."""
    size = tagger.image_size
    inputs = [{"name": "images", "shape": ["batch", 3, size, size], "dtype": "uint8"}]
    if names is None:
        shape = ["labels", tagger.own_queries.shape[1]]
        inputs += [{"name": "queries", "shape": shape, "dtype": "float32"}]
    packages = PACKAGES if kind == "onnx" else ()
    return {
        "made_with": _MADE_WITH,
        "file": FILE_NAMES[kind],
        "format": kind,
        "names": names,
        "inputs": inputs,
        "outputs": [
            {
                "name": "logits",
                "shape": ["batch", len(names) if names else "labels"],
                "dtype": "float32",
            }
        ],
        "preprocessing": {
            "size": [size, size],
            "resize": tagger.resizing.describe(size),
            "center_crop": tagger.resizing.center_crop,
            "interpolation": f"{tagger.resizing.interpolation}, antialiased",
            "colour": "RGB, channels first",
            "dtype": "uint8, 0 to 255",
            "normalisation": "inside the model",
        },
        "probabilities": "sigmoid" if answers else _probabilities(tagger, names),
        "calibrated": answers is not None,
        "thresholds": None
        if answers is None
        else {"goal": "f1", "probabilities": answers.thresholds.tolist()},
        **tagger.model,
        "encoder": tagger.encoder.recipe if tagger.encoder else None,
        "data_fingerprint": tagger.data_fingerprint,
        "versions": versions() | {name: version(name) for name in packages},
    }


def _probabilities(tagger: Tagger, names: list[str] | None) -> str | None:
    """What makes probabilities of the file's logits, if anything does."""
    if tagger.scores_are_softmax:
        return "softmax" if names == tagger.vocabulary.names else None  # It needs all classes.
    return "sigmoid" if tagger.scores_are_probabilities else None
