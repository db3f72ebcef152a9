"""The recipes of NUS-WIDE, COCO and OpenImages V6, whose costs `scale_terms.py` and others tell."""

from __future__ import annotations

from typing import NamedTuple

from zsl.models import FixedMLDecoderConfig, MLDecoderConfig


class Files(NamedTuple):
    """Image files as a data set has them."""

    kind: str
    width: int
    height: int
    kilobytes: float | None
    """Mean size where it is published; None takes what JPEG quality 85 gives."""


class Recipe(NamedTuple):
    """A shipped config and its data."""

    backbone: str
    head: MLDecoderConfig | FixedMLDecoderConfig
    size: int
    batch: int
    num_labels: int
    """Trained."""
    num_images: int
    """Trained on."""
    validation: tuple[int, int]
    """Images and labels of each epoch's validation."""
    test: tuple[int, int]
    known: int | None
    """Known targets of an image; None where all are."""
    files: tuple[Files, ...]
    """The first ones are those of the model."""


RECIPES = {
    "NUS-WIDE": Recipe(
        backbone="tresnet_v2_l",
        head=MLDecoderConfig(),
        size=224,
        batch=56,
        num_labels=925,
        num_images=153_700,
        validation=(8089, 925),
        test=(107_859, 1006),
        known=None,
        files=(Files("medium of Flickr", 500, 375, None), Files("small", 240, 180, None)),
    ),
    "COCO": Recipe(
        backbone="tresnet_v2_l",
        head=FixedMLDecoderConfig(num_groups=None),
        size=448,
        batch=56,
        num_labels=80,
        num_images=77_977,
        validation=(4104, 80),
        test=(40_137, 80),
        known=None,
        files=(Files("originals", 640, 480, 13e6 / 82_783),),
    ),
    "OpenImages V6": Recipe(
        backbone="tresnet_m",
        head=FixedMLDecoderConfig(num_groups=200),
        size=224,
        batch=64,
        num_labels=9605,
        num_images=9_011_219,
        validation=(41_620, 9605),
        test=(125_436, 9605),
        known=14,
        files=(
            Files("shorter side 256", 341, 256, None),
            Files("longer side 1024", 1024, 768, 513e6 / 1_743_042),
        ),
    ),
}
