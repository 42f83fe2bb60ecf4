"""Scores of every image with a stated rule for empty masks, and bootstrap intervals of their mean."""

from condseg_monai.metrics.binary import BinaryScoreMetric, binary_score_handlers
from condseg_monai.metrics.class_scores import ClassScoreMetric, class_score_handlers
from condseg_monai.metrics.evaluation import evaluation_score_handlers, iou_metric, validation_score_handlers
from condseg_monai.metrics.validation_loss import ValidationLoss

__all__ = [
    "BinaryScoreMetric",
    "ClassScoreMetric",
    "ValidationLoss",
    "binary_score_handlers",
    "class_score_handlers",
    "evaluation_score_handlers",
    "iou_metric",
    "validation_score_handlers",
]
