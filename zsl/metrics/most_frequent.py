"""The floor of a tagger: the same labels for every image, those that are most frequent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from zsl.metrics.evaluation import (
    THRESHOLD,
    THRESHOLD_K,
    at_k_names,
    chance_level,
    default_ks,
    of_columns,
    possible_ks,
)
from zsl.metrics.groups import FIXED
from zsl.metrics.per_image import accuracy_at_k, at_threshold, precision_recall_f1_at_k
from zsl.metrics.protocol import Protocol


def most_frequent_scores(frequencies: Tensor, mean_scores: Tensor) -> Tensor:
    """Scores of labels that are the same for every image: the more frequent, the higher.

    Of a trained label the frequency is measured in training. One that was not trained is taken to
    be as frequent as a trained label of its mean score: frequencies and mean scores of the trained
    labels are sorted, each by itself, and the one is read off at the other, linearly between two
    labels and constant beyond the last. Of equal frequencies the higher mean score comes first,
    then the first column. Nothing is taken from the targets of the test.

    As many labels score above 0, a probability of one half, as have the highest expected OF1: of M
    labels `2 Σ_{l <= M} f_l / (M + Σ_l f_l)`, by the frequencies f in descending order.

    Args:
        frequencies: float64 (L,), the share of training images that have a label; NaN where it was
            not trained. Where all are NaN, the mean scores stand in for them.
        mean_scores: (L,), means over the test images of a label's scores, as probabilities where
            they have any.

    Returns:
        float32 (L,), all different.
    """
    means, shares = mean_scores.double().numpy(), frequencies.double().numpy().copy()
    trained = ~np.isnan(shares)
    if trained.any():
        known = np.sort(means[trained]), np.sort(shares[trained])
        shares[~trained] = np.interp(means[~trained], *known)
    else:
        shares = means
    order = np.lexsort((-means, -shares))
    best_first = shares[order].clip(0, 1)
    numbers = np.arange(len(shares))
    expected = 2 * best_first.cumsum() / (numbers + 1 + best_first.sum())
    scores = np.empty(len(shares), np.float32)
    scores[order] = expected.argmax() + 0.5 - numbers
    return torch.from_numpy(scores)


def most_frequent_figures(
    constant: Tensor,
    targets: Tensor,
    groups: dict[str, list[int]],
    ks: Sequence[int] | None = None,
    protocol: Protocol | None = None,
    single_label: bool = False,
) -> dict[str, float]:
    """The figures that `evaluate` would give the same scores for every image.

    Args:
        constant: (L,), from `most_frequent_scores`.
        targets: int8 (N, L).
        groups: By name, the columns evaluated together.
        ks: The K, as `evaluate` has them.
        protocol: What counts.
        single_label: Whether each image has one label.

    Returns:
        mAP, that of chance, and P/R/F1@K, of fixed classes OF1 too; or mAP and accuracy. Under the
        names of `Evaluation.figures`.
    """
    protocol = protocol or Protocol()
    figures: dict[str, float] = {}
    for name, columns in groups.items():
        own = of_columns(targets, columns)
        own = own[protocol.images_kept(own)]
        scores = constant[columns].expand(own.shape)
        found = {"mAP": chance_level(own, (), protocol)["mAP"]}
        for k in possible_ks(default_ks(ks, single_label), len(columns)):
            if single_label:
                found[f"Acc@{k}"] = accuracy_at_k(scores, own, k)
            else:
                found |= at_k_names(k, precision_recall_f1_at_k(scores, own, k))
        if name == FIXED and not single_label:
            found["OF1"] = at_threshold(scores, own, THRESHOLD)["OF1"]
            if len(columns) >= THRESHOLD_K:
                best = at_threshold(scores, own, THRESHOLD, THRESHOLD_K)
                found[f"OF1@{THRESHOLD_K}"] = best[f"OF1@{THRESHOLD_K}"]
        figures |= {f"{name}/{key}": value for key, value in found.items()}
    return figures
