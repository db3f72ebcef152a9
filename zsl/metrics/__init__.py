"""Metrics of zero-shot learning and of fixed classes, and the protocols they are compared under."""

from zsl.metrics.average_precision import average_precision
from zsl.metrics.collectors import (
    AccuracyAtK,
    Coverage,
    MeanAveragePrecision,
    PrecisionRecallF1AtK,
    PrecisionRecallF1AtThreshold,
    Predictions,
)
from zsl.metrics.evaluation import (
    KS,
    Evaluation,
    GroupResult,
    MostFrequent,
    chance_level,
    evaluate,
    prevalence,
)
from zsl.metrics.groups import LabelGroup, label_group
from zsl.metrics.most_frequent import most_frequent_figures, most_frequent_scores
from zsl.metrics.per_image import (
    accuracy_at_k,
    at_threshold,
    coverage,
    precision_recall_f1_at_k,
)
from zsl.metrics.protocol import Protocol

__all__ = [
    "KS",
    "AccuracyAtK",
    "Coverage",
    "Evaluation",
    "GroupResult",
    "LabelGroup",
    "MeanAveragePrecision",
    "MostFrequent",
    "PrecisionRecallF1AtK",
    "PrecisionRecallF1AtThreshold",
    "Predictions",
    "Protocol",
    "accuracy_at_k",
    "at_threshold",
    "average_precision",
    "chance_level",
    "coverage",
    "evaluate",
    "label_group",
    "most_frequent_figures",
    "most_frequent_scores",
    "precision_recall_f1_at_k",
    "prevalence",
]
