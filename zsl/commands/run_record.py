"""What `zsl.fit` writes about a run when it starts: `config.yaml`, `run.json`, `latest`."""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import SaveConfigCallback
from pytorch_lightning.loggers import CSVLogger, WandbLogger

from zsl.data import MultiLabelDataModule
from zsl.errors import require
from zsl.files.atomic import write_atomically
from zsl.versions import versions

_log = logging.getLogger(__name__)


class RecordRun(SaveConfigCallback):
    """Writes `config.yaml` and `run.json` when a run starts; `latest` then points to the run."""

    has_begun = False
    earlier: str | None = None
    """What `latest` pointed to before."""

    def check_folder(self, trainer: pl.Trainer) -> None:
        """Refuses the folder of an earlier run, before the logger deletes that run's metrics.

        Raises:
            InputError: The folder is that of an earlier run.
        """
        first = trainer.loggers[0] if trainer.loggers else None
        if isinstance(first, CSVLogger):
            _check_is_new(Path(first.log_dir) / self.config_filename)

    def undo(self, trainer: pl.Trainer) -> None:
        """Removes what a run that was refused has written, unless it has a checkpoint.

        Nothing is removed but what a run writes before its first checkpoint.
        """
        first = trainer.loggers[0] if trainer.loggers else None
        if not trainer.is_global_zero or not isinstance(first, CSVLogger):
            return
        folder = Path(first.log_dir)
        if any(folder.rglob("*.ckpt")):
            return
        names = ("config.yaml", "run.json", "hparams.yaml", "metrics.csv")
        for name in names if self.has_begun else ():
            (folder / name).unlink(missing_ok=True)
        link = folder.parent / "latest"
        if self.has_begun and link.is_symlink() and os.readlink(link) == folder.name:
            link.unlink()
            if self.earlier:
                _point(link, self.earlier)
        for empty in (folder / "checkpoints", folder, *folder.parents[:2]):
            with suppress(OSError):  # It is not there, or not empty.
                empty.rmdir()

    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Writes the config.

        Raises:
            InputError: The folder holds another run.
        """
        path = self.folder / self.config_filename
        _check_is_new(path)
        write_atomically(path, self.parser.dump(self.config, skip_none=False).encode())

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Writes the config, then the record, once."""
        is_first = not self.already_saved
        # The folder is broadcast: every process has to read `trainer.log_dir`.
        self.folder = folder = Path(trainer.log_dir or ".")
        super().setup(trainer, pl_module, stage)
        self.has_begun = True
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger) and trainer.is_global_zero:
                selection = self.config.checkpoint
                # Its summary would keep the last value.
                logger.experiment.define_metric(selection.monitor, summary=selection.mode)
        if is_first and trainer.is_global_zero:
            datamodule: MultiLabelDataModule = trainer.datamodule  # type: ignore[attr-defined]
            record = {
                "versions": versions(),
                # The order of sums depends on it, and so the last digits do.
                "threads": torch.get_num_threads(),
                "data_fingerprint": datamodule.fingerprint,
            }
            write_atomically(folder / "run.json", json.dumps(record, indent=2).encode())
            if trainer.loggers:
                link = folder.parent / "latest"
                self.earlier = os.readlink(link) if link.is_symlink() else None
                _point(link, folder.name)


def _check_is_new(config: Path) -> None:
    require(not config.exists(), f"{config} is of an earlier run; name another --run_folder.")


def _point(link: Path, target: str) -> None:
    """Makes a symbolic link, in one step; not every file system has them."""
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(link)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        _log.warning("%s can't be made to point to this run: %s", link, error)
