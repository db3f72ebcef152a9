"""Encoders from the recipes that checkpoints hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zsl.files.class_paths import load_class
from zsl.labels.encoders.encoder import LabelEncoder


def encoder_from_recipe(recipe: Mapping[str, Any], trust_code: bool = False) -> LabelEncoder:
    """Makes the encoder of a checkpoint, to embed new names like the old ones.

    It refuses a source with another fingerprint than the recipe's.

    Args:
        recipe: `class_path`, `init_args` and `fingerprint`.
        trust_code: Whether a class outside of zsl may be imported.

    Raises:
        InputError: The class can't be imported, or is not trusted.
    """
    arguments = dict(recipe["init_args"])
    if "encoders" in arguments:
        parts = arguments["encoders"]
        arguments["encoders"] = [encoder_from_recipe(part, trust_code) for part in parts]
    encoder: LabelEncoder = load_class(recipe["class_path"], LabelEncoder, trust_code)(**arguments)
    encoder.fingerprint = recipe["fingerprint"]
    return encoder
