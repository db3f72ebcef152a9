"""The image tower and the text tower of one model, which a user names once."""

from __future__ import annotations

from pathlib import Path

from zsl.errors import require
from zsl.labels import Concatenation, LabelEncoder, OpenCLIPEncoder
from zsl.models import BackboneConfig, CLIPConfig, HeadConfig, OpenCLIPBackboneConfig
from zsl.towers import same_model


def pair_towers(
    encoder: LabelEncoder, backbone: BackboneConfig, head: HeadConfig | None = None
) -> None:
    """Gives text encoders that name no model or weights those of the backbone.

    Args:
        encoder: Makes the label vectors.
        backbone: Makes the tokens.
        head: What is to compare them, if that is to be checked.

    Raises:
        InputError: The head compares image and text vectors as they are, of different models.
    """
    if not isinstance(backbone, OpenCLIPBackboneConfig):
        return
    for part in encoder.encoders if isinstance(encoder, Concatenation) else [encoder]:
        if isinstance(part, OpenCLIPEncoder):
            part.pair_with(backbone.name, backbone.weights)
    if isinstance(encoder, OpenCLIPEncoder) and isinstance(head, CLIPConfig):
        _check_pair(encoder, backbone)


def _check_pair(encoder: OpenCLIPEncoder, backbone: OpenCLIPBackboneConfig) -> None:
    """Refuses towers of different models, whose vectors have nothing to do with each other."""
    weights = [backbone.weights, encoder.weights]
    # A restored backbone has weights of no name.
    is_same = None in weights or len({Path(str(name)).resolve() for name in weights}) == 1
    require(
        is_same and same_model(encoder.model, backbone.name),
        f"The encoder's text tower is {encoder.model} with the weights {encoder.weights}, the "
        f"backbone is {backbone.name} with {backbone.weights}; the head CLIPConfig compares the "
        "two, so leave encoder.model and encoder.weights null, which takes the backbone's.",
    )
