"""All figures of a tested checkpoint: protocols, calibrated scores, intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from zsl.errors import InputError
from zsl.evaluation.results import Line, lines
from zsl.evaluation.scoring import Tested
from zsl.labels import Role
from zsl.metrics import Evaluation, Protocol, evaluate
from zsl.metrics.bootstrap import Bootstrap, interval
from zsl.metrics.calibration import LabelCalibration, calibrated_stacking
from zsl.metrics.per_image import THRESHOLD_NAMES

STACKING = "stacking"
PER_LABEL = "per label"
_CALIBRATED_GROUPS = {STACKING: ("gzsl",), PER_LABEL: ("zsl", "gzsl")}
"""Where other figures than those of the raw scores come out."""


@dataclass(frozen=True)
class Assessment:
    """The figures of one checkpoint."""

    evaluations: list[Evaluation]
    """Of the raw scores, one for each protocol."""
    lines: list[Line]
    replicates: list[dict[str, Tensor]]
    """Of the headline figures, (R,) by name, for each protocol; empty without bootstrap."""
    calibration: dict[str, Any]
    """What was fitted, on what; empty without calibration."""

    @cached_property
    def intervals(self) -> list[dict[str, tuple[float, float]]]:
        """95 % intervals of the headline figures by name, for each protocol."""
        return [
            {name: interval(values, figures[f"test/{name}"]) for name, values in replicates.items()}
            for figures, replicates in zip(
                [evaluation.logged("test") for evaluation in self.evaluations],
                self.replicates,
                strict=True,
            )
        ]


def assess(
    tested: Tested, protocols: Sequence[Protocol], ks: Sequence[int], bootstrap: Bootstrap | None
) -> Assessment:
    """Measures a tested checkpoint.

    Args:
        tested: With validation images, calibrated figures are given beside the raw ones.
        protocols: One or more.
        ks: The K of P/R/F1@K.
        bootstrap: Of as many images as were tested; None leaves the intervals out.
    """
    calibrated, fitted = _calibrate(tested, ks[0])
    evaluations, replicates = [], []
    all_lines: list[Line] = []
    for protocol in protocols:
        raw = tested.scores, tested.targets, tested.groups, ks, protocol
        evaluations.append(evaluate(*raw))
        replicates.append(bootstrap.figures(*raw) if bootstrap else {})
        all_lines += lines(evaluations[-1], replicates[-1])
        for name, scores in calibrated.items():
            groups = {group: tested.groups[group] for group in _CALIBRATED_GROUPS[name]}
            asked = scores, tested.targets, groups, ks, protocol
            sure = bootstrap.at_k_figures(*asked) if bootstrap else {}
            own = lines(evaluate(*asked), sure, name)
            all_lines += map(_without_threshold, own) if name == STACKING else own
    order = [*tested.groups]
    all_lines.sort(key=lambda line: (protocols.index(line.protocol), order.index(line.group)))
    return Assessment(evaluations, all_lines, replicates, fitted)


def _without_threshold(line: Line) -> Line:
    """Leaves out what asks whether a probability is above 0.5: less a bias it is none."""
    kept = {name: v for name, v in line.result.metrics.items() if name not in THRESHOLD_NAMES}
    return replace(line, result=replace(line.result, metrics=kept))


def _calibrate(tested: Tested, k: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Calibrated scores (N, L) by name, and what was fitted; nothing where that can't be done."""
    if tested.validation is None:
        return {}, {}
    scores, targets = tested.validation
    is_seen = torch.tensor([role == Role.SEEN for role in tested.roles])
    known = torch.tensor([role != Role.UNSEEN for role in tested.roles])
    fitted_on = scores[:, known], targets[:, known], is_seen[known]
    try:
        bias = calibrated_stacking(*fitted_on, k)
        by_label = LabelCalibration.fit(*fitted_on)
    except InputError as error:
        print(f"note: no calibrated figures: {error}")
        return {}, {}
    calibrated = {
        STACKING: tested.scores - bias * is_seen.to(tested.scores.dtype),
        PER_LABEL: by_label.apply(tested.scores, scores, is_seen),
    }
    return calibrated, {
        "stacking_bias": bias,
        "stacking_fitted_for": f"F1@{k}",
        "per_label_seen": by_label.seen,
        "per_label_unseen": by_label.unseen,
        "num_validation_images": len(scores),
        "num_held_out_labels": int((~is_seen[known]).sum()),
    }
