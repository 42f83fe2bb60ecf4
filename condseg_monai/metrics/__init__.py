"""Scores of every image with a stated rule for empty masks, and bootstrap intervals of their mean."""

from condseg_monai.metrics.binary import (
    BINARY_SCORES,
    EMPTY_MASK_RULE,
    BinaryScoreMetric,
    binary_counts,
    binary_score_handlers,
    binary_scores,
    pooled_scores,
    scores_from_counts,
)
from condseg_monai.metrics.bootstrap import bootstrap_interval
from condseg_monai.metrics.class_scores import ClassScoreMetric, class_counts, class_score_handlers
from condseg_monai.metrics.evaluation import evaluation_score_handlers
from condseg_monai.metrics.saliency import SALIENCY_SCORES, SaliencyScoreMetric, saliency_scores
from condseg_monai.metrics.score_metric import ScoreMetric
from condseg_monai.metrics.surface_distance import (
    EMPTY_DISTANCES,
    SURFACE_DISTANCES,
    SurfaceDistanceMetric,
    SurfaceDistances,
    average_surface_distance,
    hausdorff_distance,
    surface_distances,
)
from condseg_monai.metrics.volume_scores import (
    TRANSUNET_RULE,
    VOLUME_SCORES,
    OrganScores,
    organ_scores,
    transunet_scores,
)

__all__ = [
    "BINARY_SCORES",
    "EMPTY_DISTANCES",
    "EMPTY_MASK_RULE",
    "SALIENCY_SCORES",
    "SURFACE_DISTANCES",
    "TRANSUNET_RULE",
    "VOLUME_SCORES",
    "BinaryScoreMetric",
    "ClassScoreMetric",
    "OrganScores",
    "SaliencyScoreMetric",
    "ScoreMetric",
    "SurfaceDistanceMetric",
    "SurfaceDistances",
    "average_surface_distance",
    "binary_counts",
    "binary_score_handlers",
    "binary_scores",
    "bootstrap_interval",
    "class_counts",
    "class_score_handlers",
    "evaluation_score_handlers",
    "hausdorff_distance",
    "organ_scores",
    "pooled_scores",
    "saliency_scores",
    "scores_from_counts",
    "surface_distances",
    "transunet_scores",
]
