"""The card of a shared tagger: what it was made of, and what it can."""

from __future__ import annotations

from typing import Any

from huggingface_hub import ModelCard, ModelCardData

_GROUPS = {
    "zsl": "unseen labels alone (ZSL)",
    "gzsl": "all labels (GZSL)",
    "seen": "trained labels alone",
}
_FIGURES = ("mAP", "F1@3", "F1@5")

_TEXT = """# Zero-shot tagger: {data}

Scores any labels for images, those without a training image too: a label enters the network as a
vector made of its name. Trained with zsl {version}.

```python
import zsl

tagger = zsl.Tagger.from_pretrained("HERE")  # This folder, or the name of this repository.
tagger.predict(["photo.jpg"], labels=["dog", "beach", "wedding"])
```

## Data

{data}, at {image_size} px. Labels: {counts}.

{labels}

## Label vectors

{encoder}

New labels are embedded alike, which needs the source named here; the vectors of the labels above
are part of the model.

## Model

{model}

## Results

{results}
"""


def model_card(config: dict[str, Any], data: ModelCardData) -> ModelCard:
    """Makes the card.

    Args:
        config: The init arguments of `zsl.Tagger`, plain values.
        data: The header of the card.
    """
    roles = {role: [] for role in ("seen", "held_out", "unseen")}  # type: dict[str, list[str]]
    for name, role in zip(config["names"], config["roles"], strict=True):
        roles[role].append(name)
    used = {role.replace("_", " "): names for role, names in roles.items() if names}
    text = _TEXT.format(
        data=config["data"] or "unknown data",
        version=config["version"],
        image_size=config["image_size"],
        counts=", ".join(f"{len(names)} {role}" for role, names in used.items()),
        labels="\n".join(f"- {role}: {', '.join(names)}" for role, names in used.items()),
        encoder=_table(dict(sorted(config["encoder"].items()))),
        model=_table(_model(config["model"])),
        results=_results(config["results"]),
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}")


def _model(settings: dict[str, Any]) -> dict[str, Any]:
    names = ["backbone", "stride", "freeze_backbone", "head"]
    if settings["head"] == "ml_decoder":
        names += ["num_groups", "embed_dim", "num_heads", "feedforward_dim", "query_relu"]
        names += ["seen_span", "pool_tokens"]
    return {name: settings[name] for name in names}


def _table(values: dict[str, Any]) -> str:
    rows = [f"| {k} | {_cell(value)} |" for k, value in values.items() if value is not None]
    return "\n".join(["| | |", "|---|---|", *rows])


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _results(results: dict[str, Any] | None) -> str:
    if results is None:
        return "No test results were beside the checkpoint."
    protocol, metrics = results["protocol"], results["metrics"]
    rows = [
        f"| {title} | {protocol['num_labels'][group]} | {protocol['num_images_counted'][group]} | "
        + " | ".join(_figure(metrics.get(f"test/{group}/{name}")) for name in _FIGURES)
        + " |"
        for group, title in _GROUPS.items()
        if group in protocol["num_labels"]
    ]
    head = f"| | labels | images | {' | '.join(_FIGURES)} |"
    rule = "|---|" + "---|" * (2 + len(_FIGURES))
    definition = f"Protocol {protocol['name']}: {protocol['definition']}."
    return "\n".join([definition, "", head, rule, *rows])


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
