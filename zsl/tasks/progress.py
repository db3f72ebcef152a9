"""What a training, a validation and a test show while they run."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from tqdm.auto import tqdm

from zsl.labels import Role
from zsl.notes import write_line

_FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {remaining} left{postfix}"
_DONE = "Trained in {elapsed}{postfix}"


class Progress(ProgressBar):
    """A bar for all passes of a training, and one for each validation, test and scoring.

    On a terminal and in a notebook; elsewhere, as in a log, each pass is a line.

    Args:
        scored: What a prediction scores.
    """

    def __init__(self, scored: str = "images") -> None:
        super().__init__()
        self.scored = scored
        self._is_enabled = True
        self._began = 0.0, 0
        self._training: Any = None
        self._other: Any = None

    def enable(self) -> None:
        """Shows bars from now on."""
        self._is_enabled = True

    def disable(self) -> None:
        """Shows none, as in all processes but the first."""
        self._is_enabled = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Says what is trained; opens the bar of all passes, where a resumed run goes on."""
        if self._is_enabled:
            write_line(_what_is_trained(trainer, pl_module))
        total = _passes(trainer) * trainer.num_training_batches
        if trainer.max_steps > 0:
            total = min(total, trainer.max_steps * trainer.accumulate_grad_batches)
        done = trainer.fit_loop.epoch_loop.batch_progress.total.state_dict()["processed"]
        # Not the latest speed alone, so that validations count.
        self._training = self._bar("training", total, leave=True, initial=done, smoothing=0)
        self._began = time.monotonic(), trainer.current_epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Says which pass it is."""
        self._training.set_description_str(_pass(trainer))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Counts a batch; figures, which a GPU has to be asked for, come with the next drawing."""
        if self._training.update():
            self._training.set_postfix_str(_figures(trainer), refresh=False)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Shows the figures of the pass."""
        self._training.set_postfix_str(_figures(trainer))
        if self._is_enabled and self._training.disable:
            write_line(f"{_pass(trainer)}{self._time_left(trainer)}, {_figures(trainer)}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leaves the time that it took."""
        if self._training is not None:
            self._training.bar_format = _DONE
            self._training.close()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Opens a bar, below that of the training."""
        sanity = trainer.sanity_checking
        batches = trainer.num_sanity_val_batches if sanity else trainer.num_val_batches
        self._other = self._bar("validation", sum(batches))

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        """Counts a batch."""
        self._other.update()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Closes the bar, after the figures are made."""
        self._other.close()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Opens a bar."""
        self._other = self._bar("test", sum(trainer.num_test_batches))

    def on_test_batch_end(self, *_: Any, **__: Any) -> None:
        """Counts a batch."""
        self._other.update()

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Closes the bar, after the figures are made."""
        self._other.close()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Opens a bar."""
        self._other = self._bar(f"scoring {self.scored}", sum(trainer.num_predict_batches))

    def on_predict_batch_end(self, *_: Any, **__: Any) -> None:
        """Counts a batch."""
        self._other.update()

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Closes the bar."""
        self._other.close()

    def on_exception(self, *_: Any) -> None:
        """Makes room for the message."""
        for bar in (self._other, self._training):
            if bar is not None:
                bar.leave = False
                bar.close()

    def _bar(self, title: str, num_batches: float, leave: bool = False, **options: Any) -> Any:
        total = None if num_batches == float("inf") else int(num_batches)
        is_hidden = None if self._is_enabled else True  # None shows it on terminals.
        options |= {"bar_format": _FORMAT, "disable": is_hidden, "leave": leave}
        return tqdm(desc=title, total=total, **options)

    def _time_left(self, trainer: pl.Trainer) -> str:
        """By the time of the passes that are done, where it is known how many there are."""
        (start, first), done = self._began, trainer.current_epoch + 1
        if _passes(trainer) == float("inf"):
            return ""
        seconds = (time.monotonic() - start) / (done - first) * (_passes(trainer) - done)
        return f", {tqdm.format_interval(seconds)} left"


def _what_is_trained(trainer: pl.Trainer, task: Any) -> str:
    parameters = [(one.numel() / 1e6, one.requires_grad) for one in task.parameters()]
    trained, all_ = (
        sum(n for n, is_trained in parameters if is_trained),
        sum(n for n, _ in parameters),
    )
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    num_labels = len(task.vocabulary.select(Role.SEEN))
    processes = f" in {trainer.world_size} processes" if trainer.world_size > 1 else ""
    return (
        f"Training {trained:.1f} of {all_:.1f} million parameters on {len(data.trained_rows):,} "
        f"images with {num_labels:,} labels, on {trainer.strategy.root_device}{processes}."
    )


def _passes(trainer: pl.Trainer) -> float:
    """How many are to be made; infinity where steps or time end the training."""
    return trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else float("inf")


def _pass(trainer: pl.Trainer) -> str:
    of = f" of {trainer.max_epochs}" if _passes(trainer) < float("inf") else ""
    return f"pass {trainer.current_epoch + 1}{of}"


def _figures(trainer: pl.Trainer) -> str:
    """The loss, and what selects the checkpoint."""
    figures = trainer.progress_bar_metrics
    return ", ".join(f"{name} {float(value):.3f}" for name, value in figures.items())
