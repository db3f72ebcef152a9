"""All figures of a checkpoint: protocols, calibrated scores, intervals, and comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from zsl.errors import InputError
from zsl.evaluation.decisions import decision_frame, reliabilities
from zsl.evaluation.label_table import label_table
from zsl.evaluation.scoring import TaskScores
from zsl.labels import Role
from zsl.metrics import (
    Evaluation,
    MostFrequent,
    evaluate,
    label_group,
    most_frequent_figures,
    most_frequent_scores,
)
from zsl.metrics.bootstrap import Bootstrap, interval
from zsl.metrics.calibration import calibrated_stacking
from zsl.metrics.decisions import Reliability
from zsl.metrics.evaluation import default_ks
from zsl.metrics.groups import FIXED
from zsl.metrics.per_image import THRESHOLD_NAMES
from zsl.metrics.protocol import Protocol
from zsl.notes import remark

STACKING = "stacking"
CALIBRATED = "calibrated"
_CALIBRATED_GROUPS = {STACKING: ("gzsl",), CALIBRATED: ("zsl", "held_out", "gzsl")}
"""Where calibration changes figures."""


@dataclass(frozen=True)
class Assessment:
    """The scores of a task and their figures."""

    scored: TaskScores
    evaluations: list[Evaluation]
    """For each protocol, of the raw scores, then of calibrated ones; reports lead with the first
    one."""
    replicates: dict[str, Tensor] = field(default_factory=dict)
    """Headline figures of the first evaluation in each bootstrap replicate, (R,) by name."""
    calibration: dict[str, Any] = field(default_factory=dict)
    """What was fitted, and on how much; empty without calibration."""
    decisions: pd.DataFrame = field(default_factory=pd.DataFrame)
    """From `zsl.evaluation.decisions`; empty where the checkpoint has no calibration."""

    @cached_property
    def labels(self) -> pd.DataFrame:
        """The figures of each label, as `label_table` makes them; a row for each column."""
        average_precision = self.evaluations[0].average_precision
        return label_table(self.scored.task, average_precision, self.scored.targets)

    @cached_property
    def reliabilities(self) -> dict[str, Reliability]:
        """By group of labels, probabilities beside what is true; empty without calibration."""
        return reliabilities(self.scored)


def assess(
    scored: TaskScores,
    protocols: Sequence[Protocol],
    ks: Sequence[int] | None,
    bootstrap: Bootstrap | None,
) -> Assessment:
    """Computes the figures of a checkpoint's scores.

    Args:
        scored: With validation images, calibrated figures are given beside the raw ones.
        protocols: One or more.
        ks: The K, as `zsl.metrics.evaluate` has them.
        bootstrap: Of as many images as were scored; None leaves the intervals out.
    """
    calibrated, fitted = _calibrate(scored, default_ks(ks, scored.single_label)[0])
    evaluations: list[Evaluation] = []
    first_replicates: dict[str, Tensor] = {}
    for protocol in protocols:
        raw = scored.scores, scored.targets, scored.groups, ks, protocol, scored.single_label
        replicates = bootstrap.figures(*raw) if bootstrap else {}
        first_replicates = first_replicates or replicates
        evaluation = beside_most_frequent(evaluate(*raw), scored, bootstrap, ks, replicates)
        evaluations.append(_with_intervals(evaluation, replicates))
        for name, scores in calibrated.items():
            groups = {g: c for g, c in scored.groups.items() if g in _CALIBRATED_GROUPS[name]}
            own = scores, scored.targets, groups, ks, protocol
            evaluation = replace(evaluate(*own), calibration=name)
            if name == STACKING:
                evaluation = _without_threshold(evaluation)
            replicates = bootstrap.at_k_figures(*own) if bootstrap else {}
            evaluations.append(_with_intervals(evaluation, replicates))
    decisions = decision_frame(scored, bootstrap)
    return Assessment(scored, evaluations, first_replicates, fitted, decisions)


def beside_most_frequent(
    evaluation: Evaluation,
    scored: TaskScores,
    bootstrap: Bootstrap | None,
    ks: Sequence[int] | None = None,
    replicates: dict[str, Tensor] | None = None,
) -> Evaluation:
    """Adds what the same most frequent labels for every image reach.

    Args:
        evaluation: Figures of the scores.
        scored: The scores.
        bootstrap: Of as many images; None leaves out by how much the figures are higher.
        ks: The K that the figures have.
        replicates: The figures in each replicate, where they have been made.
    """
    protocol, single_label = evaluation.protocol, scored.single_label
    rest = scored.targets, scored.groups, ks, protocol, single_label
    constant = most_frequent_scores(scored.frequencies, scored.mean_scores)
    figures = most_frequent_figures(constant, *rest)
    gains = {}
    if bootstrap is not None:
        floor = bootstrap.at_k_figures(constant.expand(scored.scores.shape), *rest)
        replicates = replicates or bootstrap.at_k_figures(scored.scores, *rest)
        own, groups = evaluation.figures, evaluation.groups
        gains = {
            name: interval(replicates[name] - floor[name], own[name] - figures[name])
            for name in figures
            if name in own and _has_gain(name, groups[name.rpartition("/")[0]].num_labels)
        }
    return replace(evaluation, most_frequent=MostFrequent(figures, _source(scored), gains))


def _source(scored: TaskScores) -> str:
    """Says which labels are the most frequent ones."""
    is_known = ~scored.frequencies.isnan()
    if not is_known.any():
        return "those of the highest mean scores, since there are no training images to count"
    source = "those that most training images have"
    if is_known.all():
        return source
    return (
        f"{source}; one that was not trained counts as frequent as a trained one of its mean score"
    )


def _has_gain(figure: str, num_labels: int) -> bool:
    """Headline figures of chosen labels; where all are chosen, it can't be another choice."""
    group, _, metric = figure.rpartition("/")
    name, _, k = metric.partition("@")
    is_choice = name == "OF1" or (name in ("F1", "Acc") and int(k) < num_labels)
    return is_choice and label_group(group).has_in_headline(metric)


def _with_intervals(evaluation: Evaluation, replicates: dict[str, Tensor]) -> Evaluation:
    figures = evaluation.figures
    intervals = {name: interval(values, figures[name]) for name, values in replicates.items()}
    return replace(evaluation, intervals=intervals)


def _without_threshold(evaluation: Evaluation) -> Evaluation:
    """Drops the metrics at threshold 0.5: a score minus a bias is not the logit of anything."""
    groups = {
        group: replace(
            result, metrics={k: v for k, v in result.metrics.items() if k not in THRESHOLD_NAMES}
        )
        for group, result in evaluation.groups.items()
    }
    return replace(evaluation, groups=groups)


def _calibrate(scored: TaskScores, k: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Calibrated scores (N, L) by name, and what was fitted; both empty where nothing can be."""
    if scored.validation is None:
        return {}, {}
    scores, targets = scored.validation
    is_seen = torch.tensor([role == Role.SEEN for role in scored.roles])
    known = torch.tensor([role != Role.UNSEEN for role in scored.roles])
    fitted_on = scores[:, known], targets[:, known], is_seen[known]
    try:
        bias = calibrated_stacking(*fitted_on, k)
    except InputError as error:
        remark(f"no calibrated figures: {error}")
        return {}, {}
    calibrated = {STACKING: scored.scores - bias * is_seen.to(scored.scores.dtype)}
    if scored.answers is not None:
        calibrated[CALIBRATED] = scored.answers.logits(scored.scores)
    return calibrated, {
        "stacking_bias": bias,
        "stacking_fitted_for": f"F1@{k}",
        "num_validation_images": len(scores),
        "num_held_out_labels": int((~is_seen[known]).sum()),
    }


def compare(first: Assessment, others: Sequence[Assessment]) -> pd.DataFrame:
    """Compares headline figures of checkpoints by the same draws of the same images.

    Checkpoints with other labels or images than the first are left out with a note.

    Returns:
        A row for each figure of each pair: names of `first` and `second`, `metric`, `difference`
        (second less first), `low` and `high` of its 95 % interval by paired bootstrap, and
        `is_more_than_noise`, where this interval leaves out 0. Empty without a bootstrap.
    """
    records = []
    for other in others:
        if not _have_the_same_targets(first.scored, other.scored):
            remark(
                f"{other.scored.name} is not compared with {first.scored.name}: they were "
                "not evaluated with the same labels on the same images."
            )
            continue
        one, two = first.evaluations[0].figures, other.evaluations[0].figures
        for name in filter(_is_compared, first.replicates):
            difference = two[name] - one[name]
            low, high = interval(other.replicates[name] - first.replicates[name], difference)
            records.append(
                {
                    "first": first.scored.name,
                    "second": other.scored.name,
                    "metric": name,
                    "difference": difference,
                    "low": low,
                    "high": high,
                    "is_more_than_noise": low > 0 or high < 0,
                }
            )
    return pd.DataFrame(records)


def _have_the_same_targets(one: TaskScores, other: TaskScores) -> bool:
    return (one.names, one.roles) == (other.names, other.roles) and torch.equal(
        one.targets, other.targets
    )


def _is_compared(figure: str) -> bool:
    """Every mAP; of fixed classes their headline; F1@K of all other groups but the seen labels."""
    group, _, metric = figure.rpartition("/")
    if metric in ("mAP", "harmonic_mAP") or group == FIXED:
        return metric == "harmonic_mAP" or label_group(group).has_in_headline(metric)
    return metric.startswith("F1@") and group != "seen"
