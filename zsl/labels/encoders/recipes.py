"""Encoders from the recipes that checkpoints hold."""

from __future__ import annotations

from typing import Any

from zsl.errors import InputError
from zsl.labels.encoders.concatenation import Concatenation
from zsl.labels.encoders.encoder import LabelEncoder
from zsl.labels.encoders.label_matrix import LabelMatrix
from zsl.labels.encoders.sentence_encoder import SentenceEncoder
from zsl.labels.encoders.word_vectors import WordVectors

_ENCODERS: dict[str, type[LabelEncoder]] = {
    kind.__name__: kind for kind in (Concatenation, LabelMatrix, SentenceEncoder, WordVectors)
}


def encoder_from_recipe(recipe: dict[str, Any]) -> LabelEncoder:
    """Makes the encoder of a checkpoint, to embed new names like the old ones.

    It refuses a source with another fingerprint than the recipe's.

    Raises:
        InputError: The recipe is of an encoder that this version lacks.
    """
    arguments = {name: value for name, value in recipe.items() if name not in _NOT_ARGUMENTS}
    if recipe["encoder"] not in _ENCODERS:
        raise InputError(f"This version of zsl has no label encoder {recipe['encoder']!r}.")
    if "encoders" in arguments:
        arguments["encoders"] = [encoder_from_recipe(part) for part in arguments["encoders"]]
    encoder = _ENCODERS[recipe["encoder"]](**arguments)
    encoder.fingerprint = recipe["fingerprint"]
    return encoder


_NOT_ARGUMENTS = ("encoder", "fingerprint")
