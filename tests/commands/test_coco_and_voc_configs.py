"""The recipes on MS-COCO and PASCAL VOC hold the published settings."""

from copy import deepcopy
from typing import Any

import pytest

from tests.commands.test_recipes import PUBLISHED, settings_of

COCO: dict[str, Any] = {
    "task": "zsl.tasks.ClassificationTask",
    "data": {
        "year": 2014,
        "zero_shot": None,
        "unannotated": "drop",
        "test_list": None,
        "unlabelled": "keep",
        "batch_size": 56,
        "images": PUBLISHED["data"]["images"] | {"size": 448},
    },
    "model": {
        "single_label": False,
        "backbone": PUBLISHED["model"]["backbone"],
        "head": {
            "num_groups": None,
            "embed_dim": 768,
            "num_heads": 8,
            "feedforward_dim": 2048,
            "dropout": 0.1,
        },
        "mixing": {"mixup": 0.0, "cutmix": 0.0},
        "loss": PUBLISHED["model"]["loss"],
        "optimization": PUBLISHED["model"]["optimization"] | {"weight_decay": 1e-4},
    },
    "trainer": PUBLISHED["trainer"],
    "checkpoint": {"monitor": "val/all/mAP"},
}
"""As in train.py of the official code."""


def changed(settings: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Returns settings with others at the dotted names, `.` written as `__`."""
    settings = deepcopy(settings)
    for name, value in changes.items():
        *groups, last = name.split("__")
        part = settings
        for group in groups:
            part = part[group]
        part[last] = value
    return settings


VOC = changed(COCO, data={**COCO["data"], "year": 2007, "difficult": "unknown", "download": True})
for name in ("zero_shot", "unannotated", "test_list"):
    del VOC["data"][name]
ZERO_SHOT: dict[str, Any] = {
    "task": "zsl.tasks.ZeroShotTask",
    "model": PUBLISHED["model"],
    "checkpoint": {"monitor": "val/harmonic_mAP"},
}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("coco_tresnet_l_448.yaml", COCO),
        (
            "coco_tresnet_xl_640.yaml",
            changed(
                COCO,
                data__images__size=640,
                model__backbone__options={"layers": [3, 8, 34, 5]},
            ),
        ),
        (
            "coco_zero_shot.yaml",
            changed(COCO | ZERO_SHOT, data__zero_shot="48_17", data__unlabelled="drop"),
        ),
        (
            "voc2007.yaml",
            changed(
                VOC,
                data__zero_shot=False,
                data__batch_size=128,
                model__optimization__learning_rate=5e-5,
            ),
        ),
        (
            "voc_zero_shot.yaml",
            changed(VOC | ZERO_SHOT, data__zero_shot=True, data__unlabelled="drop"),
        ),
    ],
)
def test_recipes_on_coco_and_voc_have_the_published_settings(
    config: str, expected: dict[str, Any]
) -> None:
    found = settings_of(config)
    assert found["trainer"]["logger"][0]["init_args"]["name"] == config.removesuffix(".yaml")
    weights = "tresnet_xl.pth" if "xl" in config else "pretrained"
    assert found["model"]["backbone"].pop("weights") == weights
    assert holds(found, expected)


def holds(found: Any, expected: Any) -> bool:
    """Whether settings have all that is expected, whatever they have besides."""
    if not isinstance(expected, dict) or not expected:
        return bool(found == expected)
    return all(name in found and holds(found[name], value) for name, value in expected.items())
