"""What makes the benchmarks of the pages small."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from zsl.models import FixedMLDecoderConfig, MLDecoderConfig


class Small(NamedTuple):
    """What is appended to a line, and constants and functions of the module that are replaced."""

    arguments: str = ""
    replaced: Callable[[Any], dict[str, Any]] = lambda module: {}


def small_trainings(module: Any) -> dict[str, Any]:
    """One seed, and of what is compared one."""
    found: dict[str, Any] = {"SEEDS": (0,)}
    if hasattr(module, "RATES"):
        found |= {"RATES": (1e-3,), "HEADS": first(module.HEADS)}
    return found


def small_scale(module: Any) -> dict[str, Any]:
    """Small recipes, backbones and heads, of which tests/test_scale_costs.py counts operations."""
    changes: dict[str, Any] = {"backbone": "test_resnet", "size": 32, "num_labels": 8}
    changes |= {"num_images": 1000, "validation": (40, 8), "test": (50, 8)}
    small: dict[str, Any] = {"embed_dim": 16, "feedforward_dim": 16}
    heads = {True: MLDecoderConfig(**small), False: FixedMLDecoderConfig(**small)}
    recipes = {
        name: recipe._replace(**changes, head=heads[isinstance(recipe.head, MLDecoderConfig)])
        for name, recipe in module.RECIPES.items()
    }
    if not hasattr(module, "HEADS"):
        return {"RECIPES": recipes}
    return {
        "RECIPES": recipes,
        "BACKBONES": ("test_resnet",),
        "HEADS": dict.fromkeys(first(module.HEADS), (heads[True], 4, 8)),
        "decoding": partial(module.decoding, number=1),
        "per_image": lambda *_: module.Counted(2, 4, 8),
    }


def first(table: Mapping[str, Any]) -> dict[str, Any]:
    """The first entry."""
    return dict([next(iter(table.items()))])


_STEPS = "--steps=1 --warmup=1 --rounds=1 --settings bf16 channels_last fused"
BENCHMARKS = {
    "python benchmarks/metrics.py": Small(
        "--num_images=64 --num_labels=24 --replicates=4",
        # Without a process for each.
        lambda module: {
            "measured": module._measure,
            "coverage": partial(module.coverage, num_tests=1, num_images=20),
        },
    ),
    "python benchmarks/export.py --photos": Small("--most=4 --threads=1"),
    "OMP_NUM_THREADS=1 python benchmarks/large_vocabulary.py": Small(
        "--labels=8 --batch=1", lambda module: {"MOST_LABELS": 50, "GROUPS": 4}
    ),
    "python benchmarks/head.py": Small(
        "--labels=8 --batch=1",
        lambda module: {
            "MOST_LABELS": 50,
            "TOKENS": 4,
            "TOKEN_DIM": 64,
            "GROUPS": 4,
            "compare": partial(module.compare, rounds=1),
        },
    ),
    "python benchmarks/predict.py --num_images 64 --index 100000 --compact "
    "--checkpoint best.ckpt": Small("--num_images=4 --index=8 --threads=1"),
    "python benchmarks/unseen_labels.py --output unseen daquar=daquar:daquar.txt "
    "fashion=fashion:fashion.txt mosaics=mosaics:tiny_imagenet": Small(
        "--variants table.yaml --labels texts", small_trainings
    ),
    "python benchmarks/fixed_heads.py --output heads daquar=daquar fashion=fashion "
    "cifar10=cifar10": Small("--size=32 --epochs=1", small_trainings),
    "python benchmarks/fixed_heads.py --output heads --epochs 6 mosaics=mosaics/resplit": Small(
        "--size=32 --epochs=1", small_trainings
    ),
    "python benchmarks/decisions.py CHECKPOINTS": Small("--replicates=4"),
    "python benchmarks/scale_terms.py --photos PHOTOS": Small("", small_scale),
    "python benchmarks/scale_model.py [--tflops 60] [--loaders 8] [--disk 1e9] [--link 2e11] "
    "[--network 1.25e10]": Small("", small_scale),
    "python benchmarks/scale_simulation.py metrics": Small("", small_scale),
    "python benchmarks/scale_simulation.py sampler": Small("", small_scale),
    "python benchmarks/large_index.py": Small("--scale=0.002 --labels_measured=8"),
    "python benchmarks/training_step.py --config table.yaml --data.root photos": Small(_STEPS),
    "python benchmarks/training_step.py --config shapes.yaml --settings bf16 channels_last fused "
    "--warmup 1 --steps 1 --rounds 3 --model.backbone.stride null --model.backbone.name resnet50 "
    "--data.images.size 224 --data.batch_size 4": Small(_STEPS),
}
"""By their command lines."""
