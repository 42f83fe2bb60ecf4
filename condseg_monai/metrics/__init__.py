"""Per-image scores with a stated rule for empty masks."""

from condseg_monai.metrics.binary_scores import (
    BINARY_SCORES,
    EMPTY_MASK_RULE,
    BinaryScoreMetric,
    binary_counts,
    binary_scores,
    scores_from_counts,
)

__all__ = [
    "BINARY_SCORES",
    "EMPTY_MASK_RULE",
    "BinaryScoreMetric",
    "binary_counts",
    "binary_scores",
    "scores_from_counts",
]
