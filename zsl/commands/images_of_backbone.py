"""The square that is made of an image, as the backbone's weights were trained on it."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

from jsonargparse import Namespace

from zsl.errors import InputError
from zsl.files.class_paths import class_path
from zsl.models import OpenCLIPBackboneConfig

_log = logging.getLogger(__name__)


def with_images_of_backbone(config: Namespace) -> Namespace:
    """Fills `data.images` in from the backbone if `images_of_backbone` asks for it.

    Else a difference between the two is told.

    Raises:
        InputError: The backbone does not know how its weights were trained, or the data takes no
            images.
    """
    backbone, images = config.model.get("backbone"), config.get("data.init_args.images")
    if backbone is None or backbone.class_path != class_path(OpenCLIPBackboneConfig):
        if config.images_of_backbone:
            raise InputError(
                "images_of_backbone is true, but the backbone "
                f"{getattr(backbone, 'class_path', backbone)} does not tell how its weights were "
                f"trained; take {class_path(OpenCLIPBackboneConfig)}, or set it false."
            )
        return config
    if images is None:
        return config
    own = OpenCLIPBackboneConfig(**backbone.init_args.as_dict()).images
    expected: dict[str, Any] = {"size": own.size, **asdict(own.resizing)}
    if config.images_of_backbone:
        for name, value in expected.items():
            images[name] = value
        return config
    changes = [
        f"--data.images.{name} {'null' if value is None else value}"
        for name, value in expected.items()
        if images[name] != value
    ]
    if changes:
        _log.warning(
            "The weights of the backbone %s were trained on images made in another way; for the "
            "same add --images_of_backbone true, or %s.",
            backbone.init_args.name,
            " ".join(changes),
        )
    return config
