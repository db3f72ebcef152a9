"""Epochs with a frozen backbone, from the images and from a feature store.

python benchmarks/feature_store.py --config table.yaml --config data/features.yaml \
    --data.root PHOTOS --data.images.size 224

The arguments are those of zsl.fit, without data.features. Prints the seconds an epoch takes with
its validation, how far the figures of both are apart, and the memory that is the process's own.
"""

import sys
import tempfile
import time
from pathlib import Path

import pytorch_lightning as pl

from zsl.commands.fit_cli import make_run
from zsl.commands.prepare import prepare

EPOCHS = 2


class EpochTimer(pl.Callback):
    """Times the epochs."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self.start = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops it, after the validation."""
        self.seconds.append(time.perf_counter() - self.start)


def own_memory() -> float:
    """GB of this process that are no mapped files (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e6


def train(args: list[str]) -> tuple[float, dict[str, float]]:
    """Trains two epochs; returns the seconds of the faster one and the logged figures."""
    run, timer = make_run(args), EpochTimer()
    trainer = pl.Trainer(
        max_epochs=EPOCHS,
        accelerator=run.config.trainer.accelerator,
        callbacks=[timer],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(run.model, run.datamodule)
    figures = {name: value.item() for name, value in trainer.logged_metrics.items()}
    return min(timer.seconds), figures


def main() -> None:
    """Prints both ways side by side."""
    args = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        store = [*args, f"--data.features={folder}/store"]
        start = time.perf_counter()
        prepare(["features", *store])
        prepared = time.perf_counter() - start
        size = sum(path.stat().st_size for path in Path(folder, "store").iterdir()) / 1e9
        before = own_memory()
        from_store, stored_figures = train(store)
        grown = own_memory() - before
        from_images, figures = train(args)
    print(f"store: {size:.2f} GB, made in {prepared:.0f} s")
    print(f"epoch from the images: {from_images:6.1f} s")
    print(
        f"epoch from the store:  {from_store:6.1f} s, {from_images / from_store:.1f} times as fast"
    )
    print(f"own memory grew by {grown:.2f} GB while training from the store")
    difference = max(abs(figures[name] - stored_figures[name]) for name in figures)
    print(f"largest difference of any of {len(figures)} logged figures: {difference:.1e}")


if __name__ == "__main__":
    main()
