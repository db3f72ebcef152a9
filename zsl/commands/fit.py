"""`python -m zsl.fit --config shapes.yaml`: trains, then tests the best checkpoint."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from zsl.commands.exit_codes import exit_code
from zsl.commands.help import fit_help

if TYPE_CHECKING:
    from zsl.commands.fit_cli import FitCLI


def fit(args: list[str]) -> None:
    """Trains as the config says and reports on the checkpoint with the best `val/zsl/mAP`."""
    if not args or "-h" in args or "--help" in args:
        print(fit_help())
        return
    test_best(train(args))


def train(args: list[str]) -> FitCLI:
    """Trains as the config says; with `trainer.max_epochs` 0 the model stays as it was made."""
    # Imported here, so that the help comes at once.
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    from zsl.commands.fit_cli import FitCLI

    args = ["--help" if argument == "--help_all" else argument for argument in args]
    try:
        return FitCLI(args)
    except SIGTERMException:
        sys.exit(128 + signal.SIGTERM)  # Its own code would say that all went well.


def test_best(cli: FitCLI) -> None:
    """Tests the best checkpoint of a training, and reports."""
    from pytorch_lightning.callbacks import ModelCheckpoint

    from zsl.files.checkpoints import read_checkpoint

    checkpoints = cli.trainer.checkpoint_callback
    if isinstance(checkpoints, ModelCheckpoint) and checkpoints.best_model_path:
        cli.model.load_state_dict(read_checkpoint(checkpoints.best_model_path).tensors)
        cli.trainer.test(cli.model, cli.datamodule, verbose=False)
        cli.report.show()
    elif not cli.config["fit"]["trainer"]["fast_dev_run"]:
        print("Nothing was validated, so no checkpoint was selected; the test is left out.")


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return exit_code(fit, args)
