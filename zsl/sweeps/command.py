"""`python -m zsl.sweep sweeps/query_augmentation.yaml`: many runs of `zsl.fit`, compared."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from zsl.commands.configs import find_config, shipped_names
from zsl.commands.exit_codes import exit_code, loading
from zsl.commands.messages import refuse_near
from zsl.errors import program, require


def sweep(args: list[str]) -> int:
    """Runs a sweep, or what is left of it; writes and prints its results."""
    options, fit_args = _parser().parse_known_args(args or ["--help"])
    refuse_near(fit_args, ["name", "processes", "count", "storage", "wandb"])
    require(options.file is not None, "No sweep file is named; name one, as --help shows.")
    require(options.processes >= 1, f"--processes is {options.processes}; expected 1 or more.")
    file = find_config(options.file, "sweep file")
    with loading():  # Here, so that the help comes at once.
        from zsl.sweeps.results import write_results
        from zsl.sweeps.runner import Runner, check_arguments, visible_gpus
        from zsl.sweeps.spec import read_sweep
        from zsl.sweeps.study import Study

    definition = read_sweep(file, fit_args, options.count, options.wandb, options.name)
    check_arguments(definition)
    study = Study(definition, options.storage or str(definition.folder / "study.log"))
    try:
        failures = Runner(study, options.processes, visible_gpus(), options.wandb).run()
    except (KeyboardInterrupt, SystemExit):
        print("The same command goes on with what is left.", file=sys.stderr)
        raise
    print(study.patiently(lambda: write_results(study)))
    if failures:
        print(f"{len(failures)} failed; the same command runs them again:", file=sys.stderr)
        print(*failures, sep="\n", file=sys.stderr)
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program("sweep"),
        usage="%(prog)s FILE [options] [arguments of zsl.fit]",
        description="Run a sweep file of Weights & Biases on one's own machines. All other "
        "arguments go to zsl.fit, e.g. --config table.yaml --data.root photos.",
        epilog="Results are in runs/sweeps/NAME: trials.csv, points.csv, strength.png and a folder "
        "for each trial. Run it again to go on after a stop.",
        allow_abbrev=False,
        exit_on_error=False,
    )
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="Looked for in the working directory, then among the shipped ones: "
        f"{', '.join(shipped_names('sweep file'))}.",
    )
    parser.add_argument("--name", help="In place of the file's name, e.g. for other data.")
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="Trials at the same time; they share the CPU's cores and are spread over the GPUs "
        "(default: 1).",
    )
    parser.add_argument(
        "--count",
        type=int,
        metavar="N",
        help="The most trials of the whole sweep, in place of the file's run_cap.",
    )
    parser.add_argument(
        "--storage",
        help="File on a shared disk or URL of a database (sqlite:///..., postgresql://...) through "
        "which several machines work on one sweep (default: runs/sweeps/NAME/study.log).",
    )
    parser.add_argument(
        "--wandb", action="store_true", help="Log to Weights & Biases too, offline."
    )
    return parser


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return exit_code(sweep, args)
