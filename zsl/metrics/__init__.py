"""Ranking metrics of multi-label zero-shot learning, and the protocols they are compared under."""

from zsl.metrics.evaluation import (
    KS,
    Evaluation,
    GroupResult,
    chance_level,
    evaluate,
    prevalence,
)
from zsl.metrics.predictions import (
    Coverage,
    MeanAveragePrecision,
    PrecisionRecallF1AtK,
    PrecisionRecallF1AtThreshold,
    Predictions,
)
from zsl.metrics.protocol import Protocol
from zsl.metrics.ranking import average_precision
from zsl.metrics.tagging import at_threshold, coverage, precision_recall_f1_at_k

__all__ = [
    "KS",
    "Coverage",
    "Evaluation",
    "GroupResult",
    "MeanAveragePrecision",
    "PrecisionRecallF1AtK",
    "PrecisionRecallF1AtThreshold",
    "Predictions",
    "Protocol",
    "at_threshold",
    "average_precision",
    "chance_level",
    "coverage",
    "evaluate",
    "precision_recall_f1_at_k",
    "prevalence",
]
