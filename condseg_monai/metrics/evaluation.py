"""Metric handlers of validation and evaluation: of a binary mask or of several classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from monai.handlers import IgniteMetricHandler, from_engine
from torch import Tensor

from condseg_monai.metrics.binary import BINARY_SCORES, BinaryScoreMetric, binary_score_handlers, pooled_scores
from condseg_monai.metrics.class_scores import (
    CLASS_SCORES,
    ClassScoreMetric,
    class_score,
    class_score_handlers,
    scores_from_class_counts,
)
from condseg_monai.metrics.probability_bins import ProbabilityBinMetric
from condseg_monai.metrics.saliency import SALIENCY_SCORES, SaliencyScoreMetric
from condseg_monai.metrics.score_metric import ScoreMetric
from condseg_monai.metrics.surface_distance import SURFACE_DISTANCES, SurfaceDistanceMetric

__all__ = ["PooledScores", "evaluation_score_handlers", "iou_metric", "pooled_counts", "validation_score_handlers"]


class PooledScores(NamedTuple):
    """The pixels of all images, scored as one image, and images with a wholly wrong answer."""

    scores: dict[str, float]
    """By name: ``iou``, and of several classes ``iou_tool`` for each."""
    missed: Any
    """Images of which nothing that the label has was found; of several classes a number for each."""
    false_alarms: Any
    """Images where something was found that the label has not; of several classes a number for each."""


def pooled_counts(rows: Tensor, classes: Mapping[str, Any] | None = None) -> PooledScores:
    """Score the measurements of what :func:`iou_metric` made as one image.

    Args:
        rows: a row per image.
        classes: by name, background first; None for a binary mask.
    """
    if classes is None:
        tp, fp, fn, _ = rows.unbind(dim=1)
        return PooledScores(
            pooled_scores(rows), int(((tp + fp == 0) & (fn > 0)).sum()), int(((tp + fn == 0) & (fp > 0)).sum())
        )
    names = list(classes)
    _, pred, label = rows.reshape(len(rows), len(names) - 1, 3).unbind(dim=2)
    indices = {"": None, **{name: index for index, name in enumerate(names) if index}}
    scores = {
        class_score(score, name) if name else score: scores_from_class_counts(
            rows.sum(dim=0, keepdim=True), score, index
        ).item()
        for score in CLASS_SCORES
        for name, index in indices.items()
    }
    missed, false_alarms = ((label > 0) & (pred == 0)).sum(dim=0), ((label == 0) & (pred > 0)).sum(dim=0)
    return PooledScores(
        scores,
        dict(zip(names[1:], missed.tolist(), strict=True)),
        dict(zip(names[1:], false_alarms.tolist(), strict=True)),
    )


def iou_metric(classes: Mapping[str, Any] | None = None) -> ScoreMetric:
    """Make the metric that counts pixels, of every image: of a binary mask, or of several classes, by their names."""
    if classes is None:
        return BinaryScoreMetric("iou")
    return ClassScoreMetric("iou", len(classes), per_image=True)


def validation_score_handlers(
    iou: ScoreMetric, classes: Mapping[str, Any] | None = None
) -> dict[str, IgniteMetricHandler]:
    """Make the metric handlers of a validation but that of ``iou``, which is the evaluator's key metric.

    Args:
        iou: what :func:`iou_metric` made, attached to the same evaluator.
        classes: by name, background first; None for a binary mask.
    """
    if classes is None:
        return binary_score_handlers(iou, ("dice", "recall", "precision", "accuracy", "f2"))
    return class_score_handlers(list(classes), iou)


def evaluation_score_handlers(
    iou: ScoreMetric,
    iou_original: ScoreMetric,
    empty_distance: str = "diagonal",
    pixel_spacing: float | Sequence[float] = 1.0,
    saliency: bool = False,
    stretch: bool = False,
    classes: Mapping[str, Any] | None = None,
    probability_bins: ProbabilityBinMetric | None = None,
) -> dict[str, IgniteMetricHandler]:
    """Make all metric handlers of an evaluation but that of ``iou``, which is the evaluator's key metric.

    The evaluator's output has ``pred`` and ``label``, and at the size of the file ``pred_original``, ``prob_original``
    (probabilities) and ``label_original``.

    Args:
        iou: what :func:`iou_metric` made; counts the pixels at the size of the network's input.
        iou_original: likewise, at the size of the file.
        empty_distance: distance if a mask is empty, see :class:`SurfaceDistanceMetric`; a class that neither label nor
            prediction has is left out.
        pixel_spacing: likewise.
        saliency: whether to score probabilities too, with the extra ``saliency``; of a binary mask alone.
        stretch: whether these stretch each map to the full [0, 1] first, as the field's MATLAB code does.
        classes: by name, background first; None for a binary mask.
        probability_bins: measures calibration, at the size of the file; of a binary mask alone. None leaves it out.

    Raises:
        ValueError: if ``saliency`` is asked for several classes.
    """
    if classes is not None and saliency:
        raise ValueError("saliency_scores are of binary masks, and the model has several classes: leave it out")
    masks, probabilities = (from_engine([f"{key}_original", "label_original"]) for key in ("pred", "prob"))
    if classes is None:
        handlers = binary_score_handlers(iou, BINARY_SCORES[1:])
        handlers |= binary_score_handlers(iou_original, output_transform=masks, suffix="_original")
        handlers |= _distance_handlers(masks, empty_distance, pixel_spacing)
        if probability_bins is not None:
            name = f"val_{probability_bins.score}_original"
            handlers[name] = IgniteMetricHandler(probability_bins, output_transform=probabilities)
    else:
        names = list(classes)
        handlers = class_score_handlers(names, iou, scores=CLASS_SCORES)
        handlers.pop("val_mean_iou")
        handlers |= class_score_handlers(names, iou_original, masks, CLASS_SCORES, "_original")
        for index, name in enumerate(names[1:], 1):
            handlers |= _distance_handlers(_OneClass(index, masks), empty_distance, pixel_spacing, name)
    measure = SaliencyScoreMetric(SALIENCY_SCORES[0], stretch)
    for score in SALIENCY_SCORES if saliency else ():
        reader = measure if score == measure.score else SaliencyScoreMetric(score, source=measure)
        handlers[f"val_{score}_original"] = IgniteMetricHandler(reader, output_transform=probabilities)
    return handlers


class _OneClass:
    """Output transform: the masks of one class, from those of all."""

    def __init__(self, index: int, masks: Callable[[Any], Any]) -> None:
        self.index, self.masks = index, masks

    def __call__(self, output: Any) -> tuple[list[Tensor], ...]:
        return tuple([mask == self.index for mask in masks] for masks in self.masks(output))


def _distance_handlers(
    masks: Callable[[Any], Any],
    empty_distance: str,
    pixel_spacing: float | Sequence[float],
    class_name: str | None = None,
) -> dict[str, IgniteMetricHandler]:
    is_class = class_name is not None
    distance = SurfaceDistanceMetric(SURFACE_DISTANCES[0], empty_distance, pixel_spacing, skip_absent=is_class)
    handlers = {}
    for score in SURFACE_DISTANCES:
        metric = distance if score == distance.score else SurfaceDistanceMetric(score, empty_distance, source=distance)
        name = score if class_name is None else class_score(score, class_name)
        handlers[f"val_{name}_original"] = IgniteMetricHandler(metric, output_transform=masks)
    return handlers
