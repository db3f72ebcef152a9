"""Training in two processes: the figures of one, and stops that change no digit."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fakes.processes import Signal, fit_in_processes
from tests.fakes.runs import QUICK, TINY_MODEL, TINY_SHAPES, read_csv
from tests.tasks.test_callbacks import trained
from tests.tasks.test_preparation import make_trainer, restored_from
from zsl.commands.evaluate import main as evaluate
from zsl.commands.fit_cli import data_of
from zsl.commands.prepare import main as prepare

IMAGES = "--data.images={size: 32, min_crop: 0.3, horizontal_flip: true}"
FILES = ["--config=shapes.yaml", *TINY_SHAPES, "--data.num_train=56", "--data.num_val=57", IMAGES]
SHARDS = ["--config=shapes.yaml", "--data=zsl.data.ShardsDataModule", "--data.root=shards", IMAGES]
LOADING = ["--data.batch_size=4", "--data.num_workers=0"]
TWO = ["--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.enable_progress_bar=false"]
# Seven batches an epoch in each process, of which four steps are made.
STEPS = ["--trainer.max_epochs=2", "--trainer.accumulate_grad_batches=2"]
STEPS += ["--trainer.log_every_n_steps=1"]
DRAWN = [
    *("--model.optimization.ema_decay=0.9", "--model.head.dropout=0.2"),
    "--model.augmentation={noise: 0.3, dropout: 0.2, random: 3}",
    # Taken in each validation, of the weights and statistics of the batch norms.
    "--model.scores.sample=8",
]


def run(name: str, data: list[str], *more: str) -> list[str]:
    model = [*TINY_MODEL, *QUICK, *DRAWN, *TWO, *STEPS]
    return [*data, *LOADING, *model, f"--run_folder=runs/shapes/{name}", *more]


def stopped(number: signal.Signals, batch: int) -> list[str]:
    """Arguments that send the second process a signal; each step is saved."""
    kind = f"{Signal.__module__}.{Signal.__name__}"
    values = f"{{number: {int(number)}, batch: {batch}, rank: 1}}"
    callback = f"{{class_path: {kind}, init_args: {values}}}"
    return [f"--trainer.callbacks+={callback}", "--last_checkpoint.minutes=1e-9"]


def resumed(name: str) -> str:
    return f"--ckpt_path=runs/shapes/{name}/checkpoints/last.ckpt"


def read(name: str) -> dict[str, Any]:
    results: dict[str, Any] = json.loads(Path("runs/shapes", name).read_text())
    return results


def test_two_processes(in_tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert prepare(["shards", *FILES, "--output=shards", "--images_per_shard=7"]) == 0
    codes = fit_in_processes(
        2,
        run("whole", FILES),
        run("killed", FILES, *stopped(signal.SIGKILL, 5)),
        run("ended", SHARDS, resumed("killed"), *stopped(signal.SIGTERM, 9)),
        run("resumed", FILES, resumed("ended")),
        run("mistyped", FILES, "--trainer.max_epoch=2"),
        run("whole", FILES),
    )
    stops = [[0, 0], [1, -signal.SIGKILL], [128 + signal.SIGTERM, 0], [0, 0]]
    assert codes == [*stops, [2, 2], [2, 2]]
    folder = "runs/shapes/killed/checkpoints"
    errors = capfd.readouterr().err.splitlines()
    # Each is told by one of the processes.
    assert [line for line in errors if line.startswith("error: ")] == [
        "error: Another process of this run has ended. Resume from step 2 with --ckpt_path "
        f"{folder}/last.ckpt",
        "error: There is no argument trainer.max_epoch. Did you mean 'trainer.max_epochs'?",
        "error: runs/shapes/whole/config.yaml is of an earlier run; name another --run_folder.",
    ]
    assert Path("runs/shapes/whole/metrics.csv").is_file()

    # A stop changes no digit, nor do shards.
    steps = [
        torch.load(path, weights_only=True)["global_step"]
        for path in (
            Path(f"runs/shapes/{name}/checkpoints/last.ckpt")
            for name in ("whole", "killed", "ended", "resumed")
        )
    ]
    assert steps == [8, 2, 6, 8]
    expected, found = trained("whole")[1], trained("resumed")[1]
    assert expected.keys() == found.keys()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert read("whole/results.json") == read("resumed/results.json")

    # Nor does the number of processes, in figures of the same weights.
    best = in_tmp_path / "runs/shapes/whole/checkpoints/best.ckpt"
    assert evaluate([f"--checkpoint={best}"]) == 0
    results = read("whole/checkpoints/best_evaluation/results.json")
    assert results["metrics"] == read("whole/results.json")["metrics"]
    data = data_of([*FILES, *LOADING])
    (figures,) = make_trainer(in_tmp_path / "no").validate(restored_from(best), data, verbose=False)
    rows = [row for row in read_csv(Path("runs/shapes/whole/metrics.csv")) if row["val/zsl/mAP"]]
    row = max(rows, key=lambda row: float(row["val/zsl/mAP"]))
    assert {name: float(row[name]) for name in figures} == figures
