"""What a person sees after a test: a table, a results file, pictures."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

import zsl
from zsl import charts
from zsl.data import Split
from zsl.files import atomic_path, write_atomically
from zsl.labels import Role
from zsl.metrics import PROTOCOL, PROTOCOL_TEXT, Evaluation, prevalence

GROUPS = {
    "zsl": "ZSL, {} unseen labels",
    "gzsl": "GZSL, all {} labels",
    "seen": "seen, {} trained labels",
}


class Report(Callback):
    """After a test, writes `results.json` and `report/` to the run."""

    text = ""

    def show(self) -> None:
        """Prints the table: after the test, when the progress bar is gone."""
        if self.text:
            print(self.text, flush=True)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reports on the task's `evaluation` and `predictions`."""
        # Asking for it is a collective operation: not for the first process alone.
        folder = Path(trainer.log_dir or ".")
        if not trainer.is_global_zero:
            return
        task: Any = pl_module
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        evaluation: Evaluation = task.evaluation
        num_omitted = data.omitted(Split.TEST)
        results = results_record(evaluation, num_omitted) | {
            "data_fingerprint": data.fingerprint,
            "precision": str(trainer.precision),
            "versions": versions(),
        }
        write_atomically(folder / "results.json", json.dumps(results, indent=2).encode())
        index, scores, targets = task.predictions.compute()
        labels = pd.DataFrame(
            {
                "label": task.vocabulary.select(*Role),
                "role": [role.value for role in Role for _ in task.vocabulary.select(role)],
                "AP": evaluation.average_precision.numpy(),
                "positives": (targets == 1).sum(dim=0).numpy(),
                "chance": prevalence(targets).numpy(),
            }
        )
        report = folder / "report"
        self.text = f"\n{table(evaluation, num_omitted)}\n\nReport: {report}"
        with atomic_path(report / "per_class_ap.csv") as path:
            labels.to_csv(path, index=False, float_format="%.6f")
        with atomic_path(report / "per_class_ap.png") as path:
            charts.per_class_ap(labels).savefig(path, dpi=110)
        with atomic_path(report / "predictions.png") as path:
            figure = charts.predictions(
                labels, scores, targets, lambda row: data.test_dataset.picture(index[row])
            )
            figure.savefig(path, dpi=110)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    packages = ("torch", "pytorch-lightning", "timm", "sentence-transformers", "torchmetrics")
    own = {"python": platform.python_version(), "zsl": zsl.__version__}
    return own | {name: version(name) for name in packages}


def results_record(evaluation: Evaluation, num_omitted: int) -> dict[str, Any]:
    """The figures under their logged names, with their protocol and N."""
    groups = evaluation.groups
    return {
        "protocol": {
            "name": PROTOCOL,
            "definition": PROTOCOL_TEXT,
            "num_images": evaluation.num_images,
            "num_images_left_out": num_omitted,
            "num_labels": {name: result.num_labels for name, result in groups.items()},
            "num_labels_without_positive": {
                name: result.num_empty for name, result in groups.items()
            },
        },
        "metrics": evaluation.logged("test"),
        "chance": {
            f"test/{group}/{name}": value
            for group, result in groups.items()
            for name, value in result.chance.items()
        },
    }


def table(evaluation: Evaluation, num_omitted: int) -> str:
    """The headline figures as text, each line beside its chance level."""
    rows: list[list[str]] = []
    names = list(evaluation.groups["gzsl"].metrics)
    for group, title in GROUPS.items():
        result = evaluation.groups[group]
        rows.append(
            [
                title.format(result.num_labels),
                *(_number(result.metrics.get(name)) for name in names),
            ]
        )
        rows.append(["  chance", *(_number(result.chance.get(name)) for name in names)])
    width = max(len(row[0]) for row in rows)
    omitted = f" Listed, but missing or unreadable: {num_omitted:,}." if num_omitted else ""
    lines = [
        f"Test on {evaluation.num_images:,} images.{omitted}",
        f"Protocol {PROTOCOL}: {PROTOCOL_TEXT}.",
        "",
        " " * width + "".join(f"{name:>8}" for name in names),
    ]
    lines += [row[0].ljust(width) + "".join(f"{cell:>8}" for cell in row[1:]) for row in rows]
    lines += ["", f"Harmonic mean of ZSL and seen mAP: {_number(evaluation.harmonic_map)}"]
    for group, title in GROUPS.items():
        result = evaluation.groups[group]
        if result.num_empty:
            lines.append(
                f"{title.format(result.num_labels)}: {result.num_empty} without a positive among "
                "the test images, each counting as AP 0."
            )
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
