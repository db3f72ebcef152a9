"""`python -m zsl.evaluate --checkpoint runs/.../best.ckpt`: the test, from checkpoints alone.

`--published FILE --config NAME.yaml` tests a checkpoint of the official ML-Decoder code in place.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from zsl.commands.configs import CONFIG_FLAGS, named_values
from zsl.commands.exit_codes import add_trust_code, exit_code, loading
from zsl.commands.launch import add_devices, launch
from zsl.commands.messages import parse_args
from zsl.errors import program, require

_OF_FIT = ("config", "c", "task", "data", "model", "trainer")
"""Arguments of `zsl.fit` that `--published` takes."""


def parse(args: list[str]) -> Namespace:
    """Reads the command line."""
    parser = ArgumentParser(
        prog=program("evaluate"),
        description="Test checkpoints of zsl.fit; compare several, image by image. Or test a "
        "published checkpoint: with --published FILE and the arguments of zsl.fit (--config, "
        "--data..., --model...) in place of --checkpoint.",
        exit_on_error=False,
    )
    parser.add_argument(
        "--checkpoint", nargs="+", default=[], help="One or several .ckpt files of zsl.fit."
    )
    parser.add_argument(
        "--published", type=str | None, help="A checkpoint of the official ML-Decoder code."
    )
    _add_protocol(parser)
    parser.add_argument(
        "--replicates",
        type=int,
        default=1000,
        help="Bootstrap replicates for 95 % intervals and comparisons; 0 leaves them out.",
    )
    parser.add_argument("--seed", type=int, default=0, help="Seed of the bootstrap.")
    parser.add_argument(
        "--calibrate",
        type=bool,
        default=True,
        help="Adds figures of calibrated scores, fitted on the validation images.",
    )
    parser.add_argument(
        "--head_alone",
        type=bool,
        default=False,
        help="Compares each checkpoint, where its scores are normalised, with those of its head "
        "alone.",
    )
    parser.add_argument(
        "--output",
        type=str | None,
        help="Folder for tables and report (default: CHECKPOINT_evaluation beside it; of several "
        "checkpoints: runs/evaluation).",
    )
    parser.add_argument(
        "--data",
        type=dict[str, Any],
        default={},
        help="Changes to the data's arguments, e.g. --data.root /where/the/photos/are/now.",
    )
    add_devices(parser)
    add_trust_code(parser)
    return parse_args(parser, args, "checkpoint")


def _add_protocol(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--protocol",
        nargs="+",
        default=[],
        help="all_images, labelled_images (with a positive among the evaluated labels) or both "
        "(default of this and the next three: those of the task, all_images, zero, macro and "
        "averaged unless its config says otherwise).",
    )
    parser.add_argument(
        "--empty",
        type=str | None,
        help="A label without a positive: AP zero, or skip it in mAP; two_sided: skip one without "
        "a negative too, as published figures of OpenImages V6 do.",
    )
    parser.add_argument(
        "--average",
        type=str | None,
        help="mAP: macro, the mean over labels, or weighted by their numbers of positives, as "
        "published figures of OpenImages' zero-shot split are.",
    )
    parser.add_argument(
        "--ties",
        type=str | None,
        help="Images of equal score: averaged as scikit-learn does, or sorted as published code.",
    )
    parser.add_argument(
        "--k",
        type=int,
        nargs="+",
        default=[],
        help="The K of P/R/F1@K (default: 3 and 5, as far as there are labels), or of the accuracy "
        "(1 and 5).",
    )


def split_arguments(args: list[str]) -> tuple[list[str], list[str]]:
    """Returns this command's own arguments and, beside `--published`, those of `zsl.fit`.

    >>> split_arguments(["--published", "a.pth", "--config=coco.yaml", "--data.root", "coco"])
    (['--published', 'a.pth'], ['--config=coco.yaml', '--data.root', 'coco'])
    """
    if not named_values(args, "--published"):
        return args, []
    parts: tuple[list[str], list[str]] = ([], [])
    is_of_fit = False
    for argument in args:
        if argument.startswith("-"):
            name = argument.lstrip("-").partition("=")[0].partition(".")[0]
            is_of_fit = name in _OF_FIT
        parts[is_of_fit].append(argument)
    return parts


def evaluate(args: list[str]) -> None:
    """Tests checkpoints on the data they were trained with; prints, compares and reports."""
    own, fit_args = split_arguments(args)
    require(
        not named_values(own, *CONFIG_FLAGS),
        "--config goes with --published FILE; the checkpoint of a training has its own, so name "
        "that with --checkpoint FILE and leave --config out.",
    )
    options = parse(own)
    with loading():  # Here, so that the help comes at once.
        from zsl.commands.assess_checkpoints import assess_all, chosen_protocols, score_all
        from zsl.evaluation.report import write_evaluation
        from zsl.files.checkpoints import check_are_checkpoints
        from zsl.files.folders import folder_for_results
        from zsl.metrics import Protocol

    chosen_protocols(options, Protocol())  # Refused before the images are scored.
    _check(options, fit_args)
    paths = [Path(path) for path in options.checkpoint or [options.published]]
    check_are_checkpoints(paths)
    names = short_names(paths)
    output = Path(options.output or _default_output(paths))
    group = launch(options)
    # Made before the test, which would be lost if its results could not be written.
    with folder_for_results(output) if group.is_first else nullcontext():
        is_writable = not group.is_first or os.access(output, os.W_OK)
        require(is_writable, f"--output {output} can't be written; name another folder.")
        scores = score_all(options, fit_args, dict(zip(names, paths, strict=True)), group)
        if group.is_first:
            write_evaluation(assess_all(scores, options), output)
        else:
            deque(scores, maxlen=0)


def _check(options: Namespace, fit_args: list[str]) -> None:
    """Refuses numbers below 0, and arguments that don't go together."""
    for name in ("replicates", "seed"):
        value = options[name]
        require(value >= 0, f"--{name} is {value}; expected 0 or more.")
    require(
        bool(options.checkpoint) != bool(options.published),
        "Expected either --checkpoint FILE of a training, or --published FILE with --config.",
    )
    require(
        not options.published or len(named_values(fit_args, *CONFIG_FLAGS)) > 0,
        "--published needs the config of what was trained; add --config NAME.yaml, such as "
        "coco_tresnet_l_448.yaml.",
    )


def _default_output(paths: list[Path]) -> str:
    return f"{paths[0].with_suffix('')}_evaluation" if len(paths) == 1 else "runs/evaluation"


def short_names(paths: list[Path]) -> list[str]:
    """Names checkpoints by the parts of their paths that differ, e.g. `table/version_3`.

    Raises:
        InputError: A checkpoint is named twice.
    """
    resolved = [path.resolve() for path in paths]
    for path in resolved:
        require(resolved.count(path) == 1, f"{path} is named twice; name different checkpoints.")
    runs = [_run_of(path).parts for path in resolved]
    for length in range(2, max(map(len, runs)) + 1):
        ends = [parts[-length:] for parts in runs]
        if len(set(ends)) == len(ends):
            break
    # a/runs/table/version_0 and b/runs/table/version_0 become a and b.
    while (
        len(ends) > 1 and all(len(parts) > 1 for parts in ends) and len({p[-1] for p in ends}) == 1
    ):
        ends = [parts[:-1] for parts in ends]
    return ["/".join(parts) for parts in ends]


def _run_of(path: Path) -> Path:
    """Returns `runs/table/version_3` for `runs/table/version_3/checkpoints/best.ckpt`."""
    is_best = path.name == "best.ckpt" and path.parent.name == "checkpoints"
    return path.parent.parent if is_best else path.with_suffix("")


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return exit_code(evaluate, args)
