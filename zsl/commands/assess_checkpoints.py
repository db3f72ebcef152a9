"""Checkpoints scored and assessed one after the other, as `zsl.evaluate` is asked to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

from jsonargparse import Namespace

from zsl.commands.fit_cli import data_and_task
from zsl.evaluation.assessment import Assessment, assess
from zsl.evaluation.published import score_published
from zsl.evaluation.scoring import TaskScores, score_checkpoint
from zsl.metrics import Protocol
from zsl.metrics.bootstrap import Bootstrap
from zsl.process_group import ProcessGroup


def score_all(
    options: Namespace, fit_args: list[str], paths: Mapping[str, Path], group: ProcessGroup
) -> Iterator[TaskScores]:
    """Yields the scores of each checkpoint; on all processes but the first, no rows.

    Args:
        options: Of the command.
        fit_args: Arguments of `zsl.fit`, for a published checkpoint.
        paths: The files by the names that they have in the report.
        group: Processes that share the images.
    """
    if options.published:
        with group.first_goes_ahead():
            made = data_and_task(fit_args)
        yield score_published(Path(options.published), *made, group)
        return
    kinds = [False, True] if options.head_alone else [False]
    for (name, path), alone in product(paths.items(), kinds):
        yield score_checkpoint(
            path,
            options.data,
            name=f"{name}_head_alone" if alone else name,
            ks=_ks(options),
            with_validation=options.calibrate,
            head_alone=alone,
            trust_code=options.trust_code,
            group=group,
        )


def assess_all(scores: Iterable[TaskScores], options: Namespace) -> list[Assessment]:
    """Assesses the scores of each checkpoint by the protocols of the first, with one bootstrap."""
    bootstrap: Bootstrap | None = None
    assessments: list[Assessment] = []
    for scored in scores:
        num_images = len(scored.scores)
        is_new = not bootstrap or bootstrap.num_images != num_images
        if options.replicates and is_new and num_images > 1:
            bootstrap = Bootstrap(num_images, options.replicates, options.seed)
        first = assessments[0].scored if assessments else scored
        protocols = chosen_protocols(options, first.task.protocol)
        assessments.append(assess(scored, protocols, _ks(options) or None, bootstrap))
    return assessments


def _ks(options: Namespace) -> list[int]:
    return list(dict.fromkeys(options.k))


def chosen_protocols(options: Namespace, default: Protocol) -> list[Protocol]:
    """Returns the protocols that the options name; what they don't is as in the default one."""
    names = ("empty", "ties", "average")
    chosen = {name: options[name] for name in names if options[name] is not None}
    images = list(dict.fromkeys(options.protocol)) or [default.images]
    return [replace(default, images=name, **chosen) for name in images]
