"""`python -m zsl.fit --config shapes.yaml`: trains, then tests the best checkpoint."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from zsl.commands.configs import resolve_configs
from zsl.commands.exit_codes import exit_code, loading, user_message
from zsl.commands.help import all_arguments, fit_help
from zsl.errors import InputError, program, require
from zsl.files.processes import die_with_parent
from zsl.notes import is_first, is_quiet

if TYPE_CHECKING:
    from zsl.commands.fit_cli import Run


def fit(args: list[str]) -> None:
    """Trains as the config says and reports on the best checkpoint."""
    if not args or "-h" in args or "--help" in args:
        print(fit_help())
        return
    resolve_configs(args)  # Refuses a mistyped name before the seconds that follow.
    with loading():  # Here, so that the help comes at once.
        from lightning_fabric.utilities.exceptions import MisconfigurationException

        from zsl.commands.fit_cli import make_run
        from zsl.commands.fit_parser import fit_parser, named_task

    if "--help_all" in args:
        print(all_arguments(fit_parser(named_task(args))))
        return
    if "LOCAL_RANK" in os.environ:  # One of several processes; it would wait for the first.
        die_with_parent()
    try:
        run = make_run(args)
        train(run)
        test_best(run)
    except MisconfigurationException as error:
        raise InputError(f"trainer: {' '.join(str(error).split())}") from error
    except RuntimeError as error:
        if "/gloo/" not in str(error):
            raise
        if is_first():
            advice = run.last.advice
            print(f"error: Another process of this run has ended.{advice}", file=sys.stderr)
        sys.exit(1)


def train(run: Run) -> None:
    """Trains; without an epoch, scores and keeps the model as it was made.

    A run that is refused before its first checkpoint leaves no folder.
    """
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    try:
        _train(run)
    except Exception as error:
        if isinstance(error, MisconfigurationException) or user_message(error) is not None:
            run.record.undo(run.trainer)
        raise


def _train(run: Run) -> None:
    if run.trainer.max_epochs != 0:
        run.trainer.fit(run.model, run.datamodule, ckpt_path=run.config.ckpt_path)
        # Lightning has several reasons for that, and no word.
        limits = run.config.trainer
        require(
            run.trainer.global_step > 0,
            f"The training took no step, with trainer.max_steps {limits.max_steps}, max_time "
            f"{limits.max_time} and limit_train_batches {limits.limit_train_batches}; raise or "
            "leave out what is too small (--trainer.max_epochs 0 keeps the model as it was made).",
        )
        return
    require(
        run.trainer.limit_val_batches != 0,
        "trainer.max_epochs is 0, so all that the model learns it learns in the validation, but "
        "trainer.limit_val_batches is 0; leave that out.",
    )
    # Lightning's fit would save nothing, and fail in several processes without parameters.
    run.trainer.validate(run.model, run.datamodule, verbose=False)
    run.best.keep(run.trainer)


def test_best(run: Run) -> None:
    """Tests the best checkpoint of a training, and reports."""
    from zsl.files.checkpoints import read_checkpoint

    if run.best.best_model_path:
        run.model.load_state_dict(read_checkpoint(run.best.best_model_path).tensors)
        run.trainer.test(run.model, run.datamodule, verbose=False)
        run.report.show()
        if run.trainer.is_global_zero and not is_quiet():
            print(f"Next: {_next_command(run)}")
    elif not run.config.trainer.fast_dev_run:
        print("Nothing was validated, so no checkpoint was selected; the test is left out.")


def _next_command(run: Run) -> str:
    """Returns the command that tags images with the best checkpoint."""
    from zsl.tasks import ZeroShotTask

    path = shlex.quote(os.path.relpath(run.best.best_model_path))
    labels = ' --labels "dog, beach"' if isinstance(run.model, ZeroShotTask) else ""
    return f"{program('predict')} --checkpoint {path}{labels} IMAGES"


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return exit_code(fit, args)
