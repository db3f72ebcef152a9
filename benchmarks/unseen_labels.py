"""What helps on unseen labels: closed form, normalised scores, texts, beside the baselines.

python benchmarks/unseen_labels.py --output FOLDER daquar=FOLDER:TEXTS fashion=FOLDER:TEXTS ...

A set is a folder of `labels.csv` and `classes.csv`, and a file of label texts or the name of a
shipped one; `NAME@SIZE=...` has images of another size than 224 px. Every variant is `table.yaml`
with what `VARIANTS` says, on the packaged EfficientNet-Lite0, whose tokens are computed once from
plain images; with label names alone, and with texts. The checkpoint is chosen on held-out seen
labels. Prints test figures, mean and standard deviation over seeds (one where nothing is drawn),
and writes `unseen_labels.csv`. An interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from zsl.commands.fit import main as fit
from zsl.commands.prepare import main as prepare

SEEDS = (0, 1, 2)
BILINEAR = {"class_path": "zsl.models.BilinearConfig"}
ESZSL = {
    "class_path": "zsl.models.ClosedFormConfig",
    "init_args": {"local_tokens": 0, "own_classes": False},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "table.yaml": {},
    "- own classes": {"closed_form": {"own_classes": False}},
    "- closed form": {"closed_form": None},
    "- closed form, scores": {"closed_form": None, "scores": None},
    "bilinear + scores": {"head": BILINEAR, "closed_form": None},
    "bilinear": {"head": BILINEAR, "closed_form": None, "scores": None},
    "ESZSL + scores": {"head": ESZSL, "closed_form": None},
    "ESZSL": {"head": ESZSL, "closed_form": None, "scores": None},
    "closed form + scores": {
        "head": {"class_path": "zsl.models.ClosedFormConfig"},
        "closed_form": None,
    },
}
SHOWN = ("zsl/mAP", "seen/mAP", "gzsl/mAP", "gzsl/F1@3")


def is_trained(model: dict[str, Any]) -> bool:
    """Whether a variant draws weights and takes steps."""
    return "ClosedForm" not in str(model.get("head"))


def write_config(path: Path, texts: str | None, model: dict[str, Any], folder: Path) -> None:
    """Writes what a variant adds to table.yaml."""
    config: dict[str, Any] = {
        "data": {"init_args": {"features": str(folder)}},
        "model": model | {"encoder": {"init_args": {"texts": texts}}},
    }
    if not is_trained(model):
        config["trainer"] = {"max_epochs": 0}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config))


def run(common: list[str], config: Path, seed: int) -> dict[str, float]:
    """Trains and tests, unless that is done; returns the test's figures, and the validation's."""
    folder = config.with_suffix("") / f"seed_{seed}"
    if not (folder / "results.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)  # Of an interrupted run.
        arguments = [*common, f"--config={config}", f"--seed_everything={seed}"]
        assert fit([*arguments, f"--run_folder={folder}"]) == 0
    results = json.loads((folder / "results.json").read_text())
    metrics: dict[str, float] = results["metrics"]
    curves = folder / "metrics.csv"
    if curves.is_file():
        validated = pd.read_csv(curves).dropna(subset=["val/harmonic_mAP"])
        best = validated.sort_values("val/harmonic_mAP", kind="stable")["val/zsl/mAP"].iloc[-1]
        metrics |= {"held_out": float(best)}
    return {name.removeprefix("test/"): value for name, value in metrics.items()}


def main() -> None:
    """Prints a line for each set, kind of labels and variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+", metavar="NAME[@SIZE]=FOLDER:TEXTS")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    kinds = ("texts", "names")
    parser.add_argument("--labels", nargs="*", choices=kinds, default=kinds)
    options = parser.parse_args()
    records = []
    for argument in options.sets:
        name, _, source = argument.partition("=")
        name, _, size = name.partition("@")
        root, _, texts = source.rpartition(":")
        folder = options.output / name
        common = ["--config=table.yaml", "--config=data/features.yaml", f"--data.root={root}"]
        common += [f"--data.images.size={size or 224}", "--trainer.enable_progress_bar=false"]
        if not (folder / "features").is_dir():
            assert prepare(["features", *common, f"--data.features={folder / 'features'}"]) == 0
        for labels in options.labels:
            for variant in options.variants:
                model = VARIANTS[variant]
                config = folder / labels / f"{variant.replace(' ', '_')}.yaml"
                own_texts = texts if labels == "texts" else None
                write_config(config, own_texts, model, folder / "features")
                seeds = SEEDS if is_trained(model) else SEEDS[:1]
                runs = pd.DataFrame([run(common, config, seed) for seed in seeds])
                shown = [metric for metric in (*SHOWN, "held_out") if metric in runs]
                means = {metric: runs[metric].mean() for metric in shown}
                spreads = {f"{m} sd": runs[m].std() if len(runs) > 1 else 0.0 for m in shown}
                records.append(
                    {"set": name, "labels": labels, "variant": variant, **means, **spreads}
                )
                figures = "  ".join(f"{means[m]:.3f} ± {spreads[f'{m} sd']:.3f}" for m in shown)
                print(f"{name:<9}{labels:<7}{variant:<24}{figures}", flush=True)
                pd.DataFrame(records).to_csv(options.output / "unseen_labels.csv", index=False)


if __name__ == "__main__":
    main()
