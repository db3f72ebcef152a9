"""The published recipes are held to the last setting."""

from dataclasses import asdict
from typing import Any, cast

import pytest

from zsl.commands.fit_parser import parse_config
from zsl.labels import QueryAugmentationConfig
from zsl.metrics import Protocol

PUBLISHED: dict[str, Any] = {
    "data": {
        "batch_size": 56,
        "images": {
            "size": 224,
            "interpolation": "bilinear",
            "center_crop": None,
            "min_crop": 1.0,
            "horizontal_flip": False,
            "cutout": 0.5,
            "rand_augment": "published",
            "auto_augment": None,
        },
        "unlabelled": "drop",
    },
    "model": {
        "backbone": {
            "name": "tresnet_v2_l",
            "stride": None,
            "frozen": False,
            "pooled": False,
            "options": {},
        },
        "head": {
            "num_groups": None,
            "embed_dim": 768,
            "num_heads": 8,
            "feedforward_dim": 2048,
            "dropout": 0.1,
            "query_relu": True,
            "seen_span": False,
            "pool_tokens": False,
            "grad_checkpointing": False,
        },
        "augmentation": asdict(QueryAugmentationConfig()),
        "closed_form": None,
        "scores": None,
        "loss": {"gamma_negative": 4.0, "gamma_positive": 0.0, "clip": 0.05, "reduction": "sum"},
        "optimization": {
            "optimizer": "adam",
            "learning_rate": 1e-4,
            "weight_decay": 1e-2,
            "schedule": "one_cycle",
            "warmup": 0.2,
            "layer_decay": None,
            "ema_decay": 0.9997,
            "ema_warmup": False,
            "fused": None,
        },
    },
    "trainer": {
        "max_epochs": 40,
        "precision": "16-mixed",
        "devices": 1,
        "accumulate_grad_batches": 1,
        "gradient_clip_val": None,
    },
}
"""As in the official code; docs/nuswide.md has its lines."""


def settings_of(config: str) -> dict[str, Any]:
    """What a config comes to, the class paths of parts left out."""

    def plain(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: plain(part) for name, part in value.get("init_args", value).items()}

    found = parse_config([f"--config={config}", "--data.root=."]).as_dict()
    return cast("dict[str, Any]", plain(found))


def test_the_published_recipe_has_the_published_settings() -> None:
    found = settings_of("nuswide.yaml")
    for part in ("data", "trainer"):
        assert {name: found[part][name] for name in PUBLISHED[part]} == PUBLISHED[part]
    model = found["model"]
    assert model["encoder"]["scale"] is None
    del model["encoder"], model["backbone"]["weights"]
    assert model == PUBLISHED["model"]


SINGLE: dict[str, dict[str, Any]] = {
    "cifar100.yaml": {
        "data": {
            "classes": 100,
            "zero_shot": False,
            "batch_size": 128,
            "images": PUBLISHED["data"]["images"] | {"interpolation": "bicubic"},
        },
        "model": {
            "backbone": {"name": "swin_large_patch4_window7_224.ms_in22k", "weights": "pretrained"},
            "head": {"num_groups": None},
            "mixing": {"mixup": 0.0, "cutmix": 0.0},
            "loss": {"label_smoothing": 0.0},
            "optimization": PUBLISHED["model"]["optimization"]
            | {"optimizer": "sgd", "learning_rate": 1e-2, "weight_decay": 1e-4},
        },
        "trainer": {"max_epochs": 40, "precision": "16-mixed"},
    },
    "stanford_cars.yaml": {
        "data": {
            "batch_size": 56,
            "images": PUBLISHED["data"]["images"] | {"size": 384},
        },
        "model": {
            "backbone": {"name": "tresnet_v2_l", "weights": "pretrained"},
            "head": {"num_groups": 100},
            "mixing": {"mixup": 0.0, "cutmix": 0.0},
            "loss": {"label_smoothing": 0.0},
            "optimization": PUBLISHED["model"]["optimization"] | {"weight_decay": 1e-4},
        },
        "trainer": {"max_epochs": 40, "precision": "16-mixed"},
    },
    "imagenet_resnet50.yaml": {
        "data": {
            "val_fraction": 0.01,
            "batch_size": 256,
            "repeats": 3,
            "images": {
                "size": 224,
                "interpolation": "bicubic",
                "center_crop": 0.95,
                "min_crop": 0.08,
                "horizontal_flip": True,
                "cutout": 0.0,
                "rand_augment": False,
                "auto_augment": "rand-m7-mstd0.5-inc1",
            },
        },
        "model": {
            "backbone": {
                "name": "resnet50",
                "weights": None,
                "stride": None,
                "frozen": False,
                "options": {"drop_path_rate": 0.05},
            },
            "head": {"num_groups": 100},
            "mixing": {"mixup": 0.1, "cutmix": 1.0},
            "loss": {"target_threshold": 0.2, "label_smoothing": 0.0, "reduction": "mean"},
            "optimization": {
                "optimizer": "lamb",
                "learning_rate": 4e-3,
                "weight_decay": 0.02,
                "schedule": "cosine",
                "warmup": pytest.approx(5 / 300, rel=1e-4),
                "layer_decay": None,
                "ema_decay": None,
                "ema_warmup": True,
                "fused": None,
            },
        },
        "trainer": {"max_epochs": 300, "devices": 8, "precision": "16-mixed"},
    },
}
"""Their comments say which are published."""


def selected(found: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """The part of nested settings that `wanted` names."""
    return {
        name: selected(found[name], value) if isinstance(value, dict) and value else found[name]
        for name, value in wanted.items()
    }


@pytest.mark.parametrize("config", SINGLE)
def test_recipes_of_single_labels_are_held_to_the_last_setting(config: str) -> None:
    found = settings_of(config)
    assert selected(found, SINGLE[config]) == SINGLE[config]
    head = {"embed_dim": 768, "num_heads": 8, "feedforward_dim": 2048, "dropout": 0.1}
    assert selected(found["model"]["head"], head) == head
    assert found["model"]["single_label"] is True
    assert found["checkpoint"]["monitor"] == "val/all/Acc@1"
    assert found["trainer"]["logger"][0]["init_args"]["name"] == config.removesuffix(".yaml")


OPENIMAGES: dict[str, Any] = {
    "data": {
        "unknown": "ignore",
        "missing": "error",
        "batch_size": 64,
        "images": PUBLISHED["data"]["images"],
        "repeats": 1,
    },
    "model": {
        "backbone": PUBLISHED["model"]["backbone"] | {"name": "tresnet_m", "weights": "pretrained"},
        "loss": {"gamma_negative": 1.0, "gamma_positive": 0.0, "clip": 0.0, "reduction": "sum"},
        "optimization": PUBLISHED["model"]["optimization"]
        | {"learning_rate": 2e-4, "weight_decay": 1e-4},
    },
    "trainer": PUBLISHED["trainer"] | {"max_epochs": 30},
}
"""As in train.py of PartialLabelingCSL, with unknown labels ignored."""


@pytest.mark.parametrize("config", ["openimages_v6.yaml", "openimages_zero_shot.yaml"])
def test_openimages_has_the_settings_of_the_partial_label_code(config: str) -> None:
    found = settings_of(config)
    for part, expected in OPENIMAGES.items():
        assert {name: found[part][name] for name in expected} == expected
    name = config.removesuffix(".yaml")
    assert found["trainer"]["logger"][0]["init_args"]["name"] == name
    head = {"embed_dim": 768, "num_heads": 8, "feedforward_dim": 2048, "dropout": 0.1}
    assert {**found["model"]["head"], **head, "num_groups": 200} == found["model"]["head"]
    own = (found["data"]["version"], found["data"]["unlabelled"], found["checkpoint"]["monitor"])
    if name == "openimages_v6":
        assert own == ("v6", "keep", "val/all/mAP")
        assert found["task"] == "zsl.tasks.ClassificationTask"
        assert not found["model"]["single_label"]
        assert found["model"]["mixing"] == {"mixup": 0.0, "cutmix": 0.0}
        assert found["model"]["protocol"] == asdict(Protocol(empty="two_sided"))
    else:
        assert own == ("v4_zero_shot", "drop", "val/zsl/mAP")
        assert found["model"]["encoder"]["source"] == "glove-wiki-gigaword-300"
        assert found["model"]["encoder"]["missing"] == "mean"
        assert found["model"]["augmentation"] == asdict(QueryAugmentationConfig())


@pytest.mark.parametrize("variant", ["nuswide_augmented.yaml", "nuswide_tresnet_m.yaml"])
def test_its_variants_differ_in_what_they_are_named_after(variant: str) -> None:
    published, found = settings_of("nuswide.yaml"), settings_of(variant)
    assert found["trainer"]["logger"][0]["init_args"]["name"] == variant.removesuffix(".yaml")
    del published["trainer"]["logger"], found["trainer"]["logger"], found["config"]
    if variant == "nuswide_augmented.yaml":
        augmentation = found["model"].pop("augmentation")
        assert {name for name in augmentation if augmentation[name]} >= {
            "noise",
            "dropout",
            "random",
        }
        del published["model"]["augmentation"]
    else:
        assert found["model"]["backbone"].pop("name") == "tresnet_m"
        del published["model"]["backbone"]["name"]
    del published["config"]
    assert found == published
