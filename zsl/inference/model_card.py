"""The model card of a shared tagger: its data, labels, parts and results."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from zsl.preprocessing import Resizing

_TEMPLATE = Path(__file__).parent / "templates" / "model_card.md"
_METRICS = {"mAP": "mean_average_precision", "F1@3": "f1", "F1@5": "f1"}
"""Metrics in the card, and their types in the hub's metadata."""
_SINGLE_LABEL_METRICS = {"mAP": "mean_average_precision", "Acc@1": "accuracy", "Acc@5": "accuracy"}
"""Those of images that have one class each."""


def model_card(config: Mapping[str, Any], data: ModelCardData, scoring: str = "") -> ModelCard:
    """Fills the card in, and results into its header, where the hub reads them.

    Args:
        config: The init arguments of `zsl.Tagger`, plain values.
        data: The header without results.
        scoring: How scores are made, where it is more than the head's logits.
    """
    dataset, results = config["data"] or "unknown data", config["results"] or {}
    header = data.to_dict()
    if config["encoder"] is None:  # Of fixed classes.
        kinds = [] if config.get("scores_are_softmax") else ["multi-label"]
        header |= {"pipeline_tag": "image-classification", "tags": [*kinds, "image-tagging"]}
    if results:
        header["model_name"] = f"{_kind(config)}: {dataset}"
        header["eval_results"] = _eval_results(dataset, results, header["pipeline_tag"])
    labels: dict[str, list[str]] = {"seen": [], "held_out": [], "unseen": []}
    for name, role in zip(config["names"], config["roles"], strict=True):
        labels[role].append(_escape(name))
    return ModelCard.from_template(
        ModelCardData(**header),
        template_path=str(_TEMPLATE),
        dataset=_escape(dataset),
        version=_escape(config["version"]),
        image_size=config["image_size"],
        resizing=Resizing(**(config.get("resizing") or {})).describe(config["image_size"]),
        labels=labels,
        kind=_kind(config),
        encoder=list(_rows(config["encoder"] or {})),
        metrics=list(_metrics(results)),
        model=list(_rows(config["model"])),
        scoring=scoring,
        results=results,
        protocol=results and _escape("{name}: {definition}".format(**results["protocol"])),
        groups=_group_titles(results),
    )


def _kind(config: Mapping[str, Any]) -> str:
    return "Tagger" if config["encoder"] is None else "Zero-shot tagger"


def _metrics(results: Mapping[str, Any]) -> dict[str, str]:
    is_single_label = "test/all/Acc@1" in results.get("metrics", {})
    return _SINGLE_LABEL_METRICS if is_single_label else _METRICS


def _group_titles(results: Mapping[str, Any]) -> dict[str, str]:
    """Returns what the card calls each group of labels, e.g. `ZSL (the unseen labels alone)`."""
    if not results:
        return {}
    from zsl.metrics import label_group  # Slow to import; only a card with results needs it.

    groups = {name: label_group(name) for name in results["protocol"]["num_labels"]}
    return {n: f"{g.title} ({g.meaning})" if g.meaning else g.title for n, g in groups.items()}


def _eval_results(dataset: str, results: Mapping[str, Any], task: str) -> list[EvalResult]:
    protocol, metrics = results["protocol"], results["metrics"]
    return [
        EvalResult(
            task_type=task,
            dataset_type=re.sub(r"\W+", "-", dataset).strip("-").lower(),
            dataset_name=dataset,
            dataset_split="test",
            metric_type=kind,
            metric_name=f"{name}, {title}",
            metric_value=round(value, 4),
            metric_args={
                "protocol": protocol["name"],
                "num_labels": protocol["num_labels"][group],
                "num_images": protocol["num_images_counted"][group],
            },
        )
        for group, title in _group_titles(results).items()
        for name, kind in _metrics(results).items()
        if isfinite(value := metrics.get(f"test/{group}/{name}", float("nan")))
    ]


def _rows(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields names and values of nested settings; `init_args` is left out of the names."""
    for name, value in sorted(values.items()):
        if isinstance(value, Mapping):
            yield from _rows(value, prefix if name == "init_args" else f"{prefix}{name}.")
        elif value is not None:
            yield _escape(prefix + name), _escape(value)


def _escape(value: Any) -> str:
    """Returns a line that Markdown shows as it is; names of labels may hold anything."""
    # Persian and emoji need the joiners; other control characters could do harm in a terminal.
    shown = "".join(c if c.isprintable() or c in "\u200c\u200d" else " " for c in str(value))
    special = r"([\\`*\[\]<>|~&#$]|(?<![^\W_])_|_(?![^\W_]))"  # A _ within a word is plain.
    return re.sub(special, r"\\\1", " ".join(shown.split()))
