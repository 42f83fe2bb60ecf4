"""Metric handlers of an evaluation at the size of the network's input and of the file."""

from __future__ import annotations

from collections.abc import Sequence

from monai.handlers import IgniteMetricHandler, from_engine

from condseg_monai.metrics.binary import BINARY_SCORES, BinaryScoreMetric, binary_score_handlers
from condseg_monai.metrics.saliency import SALIENCY_SCORES, SaliencyScoreMetric
from condseg_monai.metrics.surface_distance import SURFACE_DISTANCES, SurfaceDistanceMetric

__all__ = ["evaluation_score_handlers"]


def evaluation_score_handlers(
    iou: BinaryScoreMetric,
    iou_original: BinaryScoreMetric,
    empty_distance: str = "diagonal",
    pixel_spacing: float | Sequence[float] = 1.0,
    saliency: bool = False,
) -> dict[str, IgniteMetricHandler]:
    """Make all metric handlers of an evaluation but that of ``iou``, which is the evaluator's key metric.

    The evaluator's output has ``pred`` and ``label``, and at the size of the file ``pred_original``, ``prob_original``
    (probabilities) and ``label_original``.

    Args:
        iou: counts the pixels at the size of the network's input; attached to the same evaluator.
        iou_original: counts those at the size of the file.
        empty_distance: distance if a mask is empty, see :class:`SurfaceDistanceMetric`.
        pixel_spacing: likewise.
        saliency: whether to score probabilities too, with the extra ``saliency``.
    """
    masks, probabilities = (from_engine([f"{key}_original", "label_original"]) for key in ("pred", "prob"))
    handlers = binary_score_handlers(iou, BINARY_SCORES[1:])
    handlers |= binary_score_handlers(iou_original, output_transform=masks, suffix="_original")
    distance = SurfaceDistanceMetric(SURFACE_DISTANCES[0], empty_distance, pixel_spacing)
    for score in SURFACE_DISTANCES:
        metric = distance if score == distance.score else SurfaceDistanceMetric(score, empty_distance, source=distance)
        handlers[f"val_{score}_original"] = IgniteMetricHandler(metric, output_transform=masks)
    measure = SaliencyScoreMetric(SALIENCY_SCORES[0])
    for score in SALIENCY_SCORES if saliency else ():
        reader = measure if score == measure.score else SaliencyScoreMetric(score, source=measure)
        handlers[f"val_{score}_original"] = IgniteMetricHandler(reader, output_transform=probabilities)
    return handlers
