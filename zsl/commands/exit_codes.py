"""What all commands share, quick to import: exit codes, errors as one sentence, less chatter."""

from __future__ import annotations

import errno
import gc
import logging
import os
import signal
import sys
import threading
import warnings
from argparse import ArgumentError
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from jsonargparse import ArgumentParser

from zsl.commands.messages import explain
from zsl.errors import InputError, printable, shorten
from zsl.files.atomic import FULL
from zsl.notes import be_quiet, is_first, waiting, write_line
from zsl.versions import __version__

_BROKEN_PIPE = 141
"""As of a command that the system ends for it: the work may not be done."""
_REFUSALS = (
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
)
"""Of the system, to write or read where the user said."""


def exit_code(command: Callable[[list[str]], int | None], args: Sequence[str] | None) -> int:
    """Runs a command; turns an `InputError` into one sentence on stderr and exit code 2.

    `--version` and `--quiet`, which all commands take, end here.

    Args:
        command: Takes the arguments that follow the command's name; returns its exit code, or
            None for 0.
        args: These arguments; None takes those of the process.
    """
    args = list(sys.argv[1:] if args is None else args)
    if "--version" in args:
        print(f"zsl {__version__}")
        return 0
    if "--quiet" in args:
        args.remove("--quiet")
        be_quiet()
    if not is_first():
        os.environ["TQDM_DISABLE"] = "1"  # Before tqdm is imported.
    leave_out_chatter()
    try:
        try:
            with _terminable():
                return command(args) or 0
        finally:
            # What was printed last fails here, if at all, rather than at the end of Python.
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        # The reader, such as head, has enough; flushing at Python's end must not fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except KeyboardInterrupt:
        _tell_stopped()
        return 128 + signal.SIGINT
    except _Terminated:
        _tell_stopped()
        return 128 + signal.SIGTERM
    except SystemExit as error:
        # Lightning's code after Ctrl-C would be 1.
        if isinstance(error.__context__, KeyboardInterrupt):
            _tell_stopped()
            error.code = 128 + signal.SIGINT
        raise
    except Exception as error:
        message = user_message(error)
        if message is None:
            raise
        if _is_the_one_to_tell():
            print(f"error: {printable(message)}", file=sys.stderr)
        return 2


@contextmanager
def loading(what: str = "libraries") -> Iterator[None]:
    """Says on a terminal what takes seconds to load, and spares some of them.

    Searching all that is imported for garbage, again and again and once more at the end of Python,
    would take two seconds in five.
    """
    with waiting(f"loading {what}"):
        gc.disable()
        try:
            yield
        finally:
            if not gc.get_freeze_count():  # Once: what is frozen is kept, used or not.
                gc.freeze()
            gc.enable()


def _is_the_one_to_tell() -> bool:
    """Whether this process tells a mistake that several processes of a run may meet.

    Before they know of each other, the first of a machine does; then whichever meets it first.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_initialized():
        return is_first()
    try:
        store = distributed.distributed_c10d._get_default_store()
        return bool(store.add("zsl/mistakes", 1) == 1)
    except RuntimeError:  # The process that keeps it has met the mistake, and is gone.
        return False


def _tell_stopped() -> None:
    if is_first():  # Ctrl-C reaches all processes of a command.
        print("Stopped.", file=sys.stderr)


class _Terminated(SystemExit):
    """SIGTERM has come."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Lets SIGTERM end what runs as Ctrl-C does: cleaned up, rather than on the spot."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise _Terminated(128 + signal.SIGTERM)

    earlier = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


def add_trust_code(parser: ArgumentParser) -> None:
    """Adds the argument with which a user allows a checkpoint to name classes outside of zsl."""
    parser.add_argument(
        "--trust_code",
        type=bool,
        default=False,
        help="Import classes outside of zsl that the checkpoint names, which executes their code.",
    )


def user_message(error: BaseException | None) -> str | None:
    """The message of the user's mistake that this error is or comes from."""
    for one in _chain(error):
        if isinstance(one, ArgumentError):
            return shorten(explain(str(one)), 1500)
        if isinstance(one, InputError):
            # A loader process hands its error on as text, with a traceback before the message.
            return " ".join(str(one).rsplit("InputError: ", 1)[-1].split())
        if isinstance(one, OSError) and one.errno in _REFUSALS and one.filename is not None:
            return f"{one.filename}: {one.strerror}."
        if type(one).__module__.startswith("wandb.errors"):
            text = " ".join(str(one).split()).rstrip(".")
            return f"Weights & Biases: {text}; or set WANDB_MODE=offline, which needs no account."
    return _full_disk(error)


def _full_disk(error: BaseException | None) -> str | None:
    """Says what could not be written: Lightning's further attempts to write may name no file."""
    full = [one for one in _chain(error) if isinstance(one, OSError) and one.errno in FULL]
    if not full:
        return None
    name = next((one.filename for one in full if one.filename is not None), "The disk")
    return f"{name}: {full[0].strerror}; make room, or write elsewhere."


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def leave_out_chatter() -> None:
    """Silences what a user can't act on."""
    for message in (
        ".*does not have many workers",
        ".*isinstance.treespec, LeafSpec.",
        ".*smaller than the logging interval",
        ".*module.s. in eval mode at the start of training",
        ".*The dirpath has changed from",
        # Repeated images are dropped before anything is measured.
        ".*Using `DistributedSampler` with the dataloaders",
        ".*`srun` command is available",
        "predict returned None",
        # Of a log that is there before: a folder of an earlier run is refused.
        ".*Experiment logs directory",
        # The sampler resumes.
        ".*your dataloader is not resumable",
    ):
        warnings.filterwarnings("ignore", message)
    # Of images that it reads nevertheless.
    warnings.filterwarnings("ignore", module="PIL")
    logging.basicConfig(format="%(message)s", handlers=[_AboveBars()])
    for handler in logging.getLogger().handlers:
        handler.addFilter(_escape_arguments)
    logging.getLogger("zsl").setLevel(logging.INFO)
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(_is_of_use)
    for name in ("seed", "distributed"):
        logging.getLogger(f"lightning_fabric.utilities.{name}").setLevel(logging.WARNING)
    # It logs each of its attempts.
    logging.getLogger("huggingface_hub.utils._http").setLevel(logging.ERROR)
    # It logs a traceback before it raises what is explained to the user.
    logging.getLogger("gensim").setLevel(logging.CRITICAL)
    # About arguments that Lightning passes.
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


class _AboveBars(logging.Handler):
    """Writes to stderr, as it is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a record as a line above the progress bars."""
        write_line(self.format(record))


def _escape_arguments(record: logging.LogRecord) -> bool:
    """Makes names and paths in a line of ours safe for a terminal; the line itself is."""
    if record.name.startswith("zsl") and isinstance(record.args, tuple):
        record.args = tuple(
            value if isinstance(value, int | float) else printable(str(value))
            for value in record.args
        )
    return True


def _is_of_use(record: logging.LogRecord) -> bool:
    chatter = (
        *("Tip:", "Loading `train_dataloader`", "PU available", "configure_callbacks"),
        *("`max_epochs=", "Restoring states", "Detected KeyboardInterrupt"),
    )
    return not any(phrase in record.getMessage() for phrase in chatter)
