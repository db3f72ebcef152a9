"""The checkpoints that a run keeps, the best and the last, and what a resume draws."""

from __future__ import annotations

import logging
import shlex
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, Checkpoint, ModelCheckpoint

from zsl.data.seeds import run_seed, seeds
from zsl.errors import InputError, did_you_mean, require
from zsl.files.atomic import atomic_path
from zsl.tasks.checkpoint_io import AtomicCheckpointIO

_log = logging.getLogger(__name__)


class BestCheckpoint(ModelCheckpoint):
    """Keeps the best checkpoint over a stop: a resumed run begins with that of the first."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Sees to it that checkpoints are written whole."""
        super().setup(trainer, pl_module, stage)
        AtomicCheckpointIO.use_in(trainer)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the best score over, and a copy of its checkpoint into the new run's folder."""
        super().load_state_dict(state_dict)
        best = Path(state_dict["best_model_path"])
        if not best.is_file() or self.dirpath is None:
            return
        own = Path(self.dirpath) / best.name
        if not own.exists():
            with atomic_path(own) as temporary:
                shutil.copyfile(best, temporary)
        self.best_model_path = self.kth_best_model_path = str(own)
        self.best_model_score = self.kth_value = state_dict["best_model_score"]
        self.best_k_models = {str(own): state_dict["best_model_score"]}

    def on_sanity_check_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuses a monitor that is not measured, before the training.

        Raises:
            InputError: The validation logs no metric of this name.
        """
        metrics = [name for name in trainer.callback_metrics if name.startswith("val/")]
        if metrics and self.monitor not in metrics:
            near = did_you_mean(str(self.monitor), metrics)
            raise InputError(f"checkpoint: the validation does not log {self.monitor!r}.{near}")

    def keep(self, trainer: pl.Trainer) -> None:
        """Saves what was just validated, outside of a training."""
        self.best_model_path = str(Path(self.dirpath or ".") / f"{self.filename}.ckpt")
        self.best_model_score = trainer.callback_metrics.get(str(self.monitor))
        trainer.save_checkpoint(self.best_model_path, weights_only=False)


class LastCheckpoint(Checkpoint):
    """Saves `last.ckpt`: after each epoch, in mid-epoch every so often, and on an interruption.

    Ctrl-C and SIGTERM, to any process of the run, end all of them after the same step, with all
    its accumulated batches: it is done whole, and none waits for another. A second Ctrl-C ends at
    once. The first process exits with 128 and the number of the signal, the others with 0: a
    launcher kills the processes beside one that fails, and the first may still be at work.

    Args:
        minutes: Time between two saves in mid-epoch.
    """

    def __init__(self, minutes: float = 10.0) -> None:
        super().__init__()
        require(minutes > 0, f"minutes is {minutes}; expected above 0.")
        self.seconds = 60 * minutes
        self._saved_at = time.monotonic()
        self._signal = 0
        self._is_stopping = False
        self._saved: tuple[int, Path] | None = None

    @property
    def advice(self) -> str:
        """How to resume, as a sentence that follows another."""
        if self._saved is None:
            return " No state was saved yet."
        step, path = self._saved
        return f" Resume from step {step} with --ckpt_path {shlex.quote(str(path))}"

    def _listen(self) -> None:
        """Notes signals from now on; Lightning puts the earlier handlers back."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._note)

    def _note(self, number: int, _: object) -> None:
        if self._signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signal = number

    def _agreed_signal(self, trainer: pl.Trainer) -> int:
        """The signal that any of the processes has, so that all stop after the same batch."""
        if trainer.world_size == 1:
            return self._signal
        own = torch.tensor(float(self._signal), device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(own, reduce_op="max"))

    def _stop(self, trainer: pl.Trainer, number: int) -> NoReturn:
        self._is_stopping = True
        if trainer.is_global_zero:
            _log.info("Stopped at step %d.%s", trainer.global_step, self.advice)
        raise SystemExit(128 + number if trainer.is_global_zero else 0)

    def _save(self, trainer: pl.Trainer) -> Path | None:
        best = trainer.checkpoint_callback
        is_trial = getattr(trainer, "fast_dev_run", False)
        if is_trial or not isinstance(best, BestCheckpoint) or not best.dirpath:
            return None
        path = Path(best.dirpath) / "last.ckpt"
        trainer.save_checkpoint(path, weights_only=False)
        self._saved_at = time.monotonic()
        self._saved = (trainer.global_step, path)
        return path

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self._saved_at = time.monotonic()
        self._listen()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Saves where it is time to, and stops where a signal has come."""
        # A resume from the last one would leave the validation out; a save follows that.
        if trainer.is_last_batch or _is_accumulating(trainer):
            return
        is_due = time.monotonic() - self._saved_at > self.seconds
        number = self._agreed_signal(trainer)
        if number or trainer.strategy.broadcast(is_due):
            self._save(trainer)
        if number:
            self._stop(trainer, number)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves, after the validation."""
        self._save(trainer)
        if number := self._agreed_signal(trainer):
            self._stop(trainer, number)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listens before the first training step, too."""
        self._listen()

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stops where a signal has come; the last saved state stands."""
        if number := self._agreed_signal(trainer):
            self._stop(trainer, number)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listens in the test, too."""
        self._listen()

    def on_test_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stops where a signal has come."""
        if number := self._agreed_signal(trainer):
            self._stop(trainer, number)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Saves where an interruption leaves a whole state.

        One of several processes must not wait for others that go on; while the model is validated,
        its averaged weights stand in its place.
        """
        if self._is_stopping or trainer.world_size > 1:
            return
        if not trainer.training or not trainer.global_step:
            return
        # After the last batch a resume would leave the validation out.
        is_last = _num_batches(trainer) >= trainer.num_training_batches
        if not is_last and not _is_accumulating(trainer) and self._save(trainer):
            _log.info("Stopped at step %d.%s", trainer.global_step, self.advice)


def _num_batches(trainer: pl.Trainer) -> int:
    """Batches of this epoch that are done."""
    progress: dict[str, int] = trainer.fit_loop.epoch_loop.batch_progress.current.state_dict()
    return progress["processed"]


def _is_accumulating(trainer: pl.Trainer) -> bool:
    """Whether there are gradients of batches without their step, which no checkpoint holds."""
    return _num_batches(trainer) % trainer.accumulate_grad_batches != 0


class StepSeeds(Callback):
    """Seeds what the model draws in a training step, such as dropout, by the number of the step.

    So it depends on the run's seed and the step alone, and a resumed run draws what the unbroken
    one would have drawn.
    """

    def __init__(self) -> None:
        self.seed = run_seed()

    def state_dict(self) -> dict[str, Any]:
        """The seed, which a resumed run takes over."""
        return {"seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes it over."""
        self.seed = state_dict["seed"]

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Seeds the generators of all devices, otherwise in each process."""
        done = trainer.fit_loop.epoch_loop.batch_progress.total.state_dict()["processed"]
        (seed,) = seeds(1, self.seed, done, trainer.global_rank)
        torch.manual_seed(int(seed))
