"""Which checkpoints a run keeps, the best and the last for a resume; and reading one."""

from __future__ import annotations

import logging
import os
import shutil
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint

import zsl
from zsl.errors import InputError, require
from zsl.files import atomic_path

_log = logging.getLogger(__name__)

MISFITS = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What arguments and tensors of another version, or edited by hand, fail with."""
_PARTS = {"zsl": "labels", "state_dict": "weights", "hyper_parameters": "settings"}


class BestCheckpoint(ModelCheckpoint):
    """Keeps the best checkpoint over a stop: a resumed run begins with that of the first."""

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

    def keep(self, trainer: pl.Trainer) -> None:
        """Saves what was just validated, outside of a training."""
        self.best_model_path = str(Path(self.dirpath or ".") / f"{self.filename}.ckpt")
        self.best_model_score = trainer.callback_metrics.get(str(self.monitor))
        trainer.save_checkpoint(self.best_model_path, weights_only=False)


class LastCheckpoint(Checkpoint):
    """Saves `last.ckpt`: after each epoch, in mid-epoch every so often, and on an interruption.

    Args:
        minutes: Between two saves in mid-epoch.
    """

    def __init__(self, minutes: float = 10.0) -> None:
        super().__init__()
        require(minutes > 0, f"last_checkpoint.minutes is {minutes}; expected above 0.")
        self.seconds = 60 * minutes
        self._saved_at = time.monotonic()

    def _save(self, trainer: pl.Trainer) -> Path | None:
        best = trainer.checkpoint_callback
        is_trial = getattr(trainer, "fast_dev_run", False)
        if is_trial or not isinstance(best, BestCheckpoint) or not best.dirpath:
            return None
        path = Path(best.dirpath) / "last.ckpt"
        trainer.save_checkpoint(path, weights_only=False)
        self._saved_at = time.monotonic()
        return path

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self._saved_at = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Saves where it is time to."""
        if trainer.is_last_batch:
            return  # A resume from here would leave the validation out; a save follows it.
        is_due = time.monotonic() - self._saved_at > self.seconds
        if trainer.strategy.broadcast(is_due):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves, after the validation."""
        self._save(trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Saves where an interruption leaves a whole state.

        One of several processes must not wait for others that go on; while the model is validated,
        its averaged weights stand in its place.
        """
        if trainer.world_size > 1 or not trainer.training or not trainer.global_step:
            return
        # After the last batch a resume would leave the validation out.
        progress = trainer.fit_loop.epoch_loop.batch_progress.current.state_dict()
        is_last = progress["processed"] >= trainer.num_training_batches
        if not is_last and (path := self._save(trainer)):
            _log.info("Stopped at step %d; resume with --ckpt_path %s", trainer.global_step, path)


def check_is_checkpoint(path: Path) -> None:
    """Refuses the path of a checkpoint that is no file.

    Raises:
        InputError: It is missing, or a folder.
    """
    problem = "is a folder" if os.path.isdir(path) else "does not exist"
    require(
        os.path.isfile(path), f"The checkpoint {path} {problem}; expected a .ckpt file of zsl.fit."
    )


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU without executing anything in it.

    Raises:
        InputError: The file is missing, damaged, or no checkpoint of this product.
    """
    path = Path(path)
    check_is_checkpoint(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of pickles that are no checkpoint.
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # Bytes that are no checkpoint fail in many ways.
        raise InputError(
            f"The checkpoint {path} can't be read: it is damaged, incomplete, or no checkpoint."
        ) from error
    for part, what in _PARTS.items():
        if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(part), Mapping):
            raise InputError(f"{path} is no checkpoint of zsl.fit: it holds no {what}.")
    return checkpoint


def of_another_version(source: str, version: str | None, error: Exception) -> InputError:
    """The error for a model whose arguments or tensors this version can't take.

    Args:
        source: What was read.
        version: Of zsl, that wrote it.
        error: What failed.
    """
    reason = (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
    return InputError(
        f"{source} was saved by zsl {version or 'of an unknown version'} and does not go with zsl "
        f"{zsl.__version__} ({reason}); install that version, or train again."
    )
