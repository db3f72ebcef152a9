"""ML-Decoder against pooling and a linear layer, on fixed classes, at equal backbone and budget.

python benchmarks/fixed_heads.py --output FOLDER fashion=FOLDER mosaics=FOLDER/resplit ...

A set is a folder of `labels.csv` and `classes.csv` (several labels an image), or of
`train|val|test/<class>/` (one). Of a table the labels are those that its training images have; with
`/resplit` after the folder, images are split anew, 70 : 10 : 20, so that all of its labels are
trained. Each head has the frozen, packaged EfficientNet-Lite0, whose tokens are computed once, the
same loss, passes, batches and schedule; its learning rate rises, with the first seed, until the
validation images say that the one before was better. Prints test figures, mean and standard
deviation over seeds, and writes `heads.csv`. An interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import pandas as pd
import yaml

from zsl.commands.fit import main as fit
from zsl.commands.prepare import main as prepare
from zsl.data.held_out_images import split_off

RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
SEEDS = (0, 1, 2)
HEADS = {
    "pooling + linear": {"class_path": "zsl.models.PoolingConfig"},
    "ML-Decoder, 10 groups": {
        "class_path": "zsl.models.FixedMLDecoderConfig",
        "init_args": {"num_groups": 10, "embed_dim": 256, "feedforward_dim": 512},
    },
    "ML-Decoder, full": {
        "class_path": "zsl.models.FixedMLDecoderConfig",
        "init_args": {"num_groups": None, "embed_dim": 256, "feedforward_dim": 512},
    },
}


def write_table(source: Path, folder: Path, resplit: bool) -> None:
    """Writes a table of fixed classes whose images lie in another folder."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.read_csv(source / "labels.csv", dtype=str, keep_default_na=False)
    table["image"] = [str(source.resolve() / image) for image in table["image"]]
    if resplit:
        others, test = split_off(len(table), 0.2)
        train, val = split_off(len(others), 0.125)
        for split, rows in (("train", others[train]), ("val", others[val]), ("test", test)):
            table.loc[rows, "split"] = split
    labels = table["labels"].str.split("|")
    trained = sorted({name for row in labels[table["split"] == "train"] for name in row} - {""})
    kept = set(trained)
    table["labels"] = ["|".join(name for name in row if name in kept) for row in labels]
    table.to_csv(folder / "labels.csv", index=False)
    pd.DataFrame({"name": trained, "role": "seen"}).to_csv(folder / "classes.csv", index=False)


def write_config(name: str, source: str, output: Path, size: int, epochs: int) -> Path:
    """Writes what all runs of a set have in common."""
    root = source.removesuffix("/resplit")
    is_table = (Path(root) / "labels.csv").is_file()
    module, data_root = "ImageFolderDataModule", root
    if is_table:
        write_table(Path(root), output / name / "table", source.endswith("/resplit"))
        module, data_root = "TableDataModule", str(output / name / "table")
    config = {
        "task": "zsl.tasks.ClassificationTask",
        "data": {
            "class_path": f"zsl.data.{module}",
            "init_args": {
                "root": data_root,
                "images": {"size": size, "min_crop": 1.0, "horizontal_flip": False},
                "batch_size": 64,
                "features": str(output / name / "features"),
            },
        },
        "model": {
            "single_label": not is_table,
            "backbone": {"name": "tf_efficientnet_lite0", "weights": "packaged", "frozen": True},
            "loss": {
                "class_path": f"zsl.losses.{'AsymmetricLoss' if is_table else 'CrossEntropy'}"
            },
        },
        "trainer": {
            "max_epochs": epochs,
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": [
                {
                    "class_path": "pytorch_lightning.loggers.CSVLogger",
                    "init_args": {"save_dir": str(output)},
                }
            ],
        },
        "checkpoint": {"monitor": f"val/all/{'mAP' if is_table else 'Acc@1'}"},
    }
    path = output / name / "config.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config))
    return path


def run(config: Path, head: str, rate: float, seed: int) -> dict[str, float]:
    """Trains and tests; returns the test's figures and the best one of the validation."""
    folder = config.parent / f"{head.replace(' ', '_')}_{rate}_{seed}"
    if not (folder / "results.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)  # Of an interrupted run.
        arguments = [f"--config={config}", f"--model.head={json.dumps(HEADS[head])}"]
        arguments += [f"--model.optimization.learning_rate={rate}", f"--seed_everything={seed}"]
        assert fit([*arguments, f"--run_folder={folder}"]) == 0
    metrics = json.loads((folder / "results.json").read_text())["metrics"]
    monitor = yaml.safe_load(config.read_text())["checkpoint"]["monitor"]
    validated = pd.read_csv(folder / "metrics.csv")[monitor].max()
    return {name.rpartition("/")[2]: value for name, value in metrics.items()} | {"val": validated}


def best_rate(config: Path, head: str) -> float:
    """Returns the learning rate at which the validation is best."""
    best = RATES[0]
    for rate in RATES[1:]:
        if run(config, head, rate, SEEDS[0])["val"] <= run(config, head, best, SEEDS[0])["val"]:
            break
        best = rate
    return best


def main() -> None:
    """Prints a line for each set and head."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    records = []
    for name, source in (argument.split("=", 1) for argument in options.sets):
        config = write_config(name, source, options.output, options.size, options.epochs)
        if not (options.output / name / "features").is_dir():
            assert prepare(["features", f"--config={config}"]) == 0
        for head in HEADS:
            rate = best_rate(config, head)
            runs = pd.DataFrame([run(config, head, rate, seed) for seed in SEEDS])
            shown = ["mAP", "OF1", "CF1", "Acc@1", "Acc@5"]
            means = {metric: runs[metric].mean() for metric in shown if metric in runs}
            spreads = {f"{metric} sd": runs[metric].std() for metric in means}
            records.append({"set": name, "head": head, "rate": rate, **means, **spreads})
            figures = "  ".join(f"{m} {means[m]:.3f} ± {spreads[f'{m} sd']:.3f}" for m in means)
            print(f"{name:<10}{head:<24}{rate:<8g}{figures}", flush=True)
    pd.DataFrame(records).to_csv(options.output / "heads.csv", index=False)


if __name__ == "__main__":
    main()
