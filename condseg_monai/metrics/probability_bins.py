"""Calibration of probabilities, and scores over all thresholds, from one histogram of every image."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from condseg_monai.metrics.binary import scores_from_counts
from condseg_monai.metrics.score_metric import ScoreMetric

__all__ = ["ProbabilityBinMetric", "calibration_curve", "threshold_curve"]

_BINS = 100
_CALIBRATION_BINS = 20
_EDGES = torch.linspace(0, 1, _BINS + 1)
_DOUBTFUL = (25, 75)  # bins: probabilities from 0.25 to 0.75
_CURVES = ("dice", "iou", "recall", "precision")


class ProbabilityBinMetric(ScoreMetric):
    """Expected calibration error (Guo et al., ICML 2017) of every image, and its average, for a MONAI engine.

    It is called with probabilities of foreground, not masks. 100 bins count the pixels, those that are lesion, and sum
    the probabilities; :func:`calibration_curve` and :func:`threshold_curve` read these measurements. The error is that
    of the bins' twentieths: the mean over pixels of \\|mean probability - share of lesion\\| of their bin. Most pixels
    of most images are plain background, which keeps it low.

    Args:
        score: ``"calibration_error"``.
        source: see :class:`ScoreMetric`.
    """

    scores: ClassVar[tuple[str, ...]] = ("calibration_error",)

    def __init__(self, score: str = "calibration_error", source: ProbabilityBinMetric | None = None) -> None:
        super().__init__(score, source)

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        rows = []
        for probs, label in zip(y_pred, self._required(y), strict=True):
            prob, lesion = (values.detach().as_subclass(Tensor).flatten() for values in (probs.float(), label != 0))
            # As a threshold does: a probability on an edge belongs above it.
            bins = torch.bucketize(prob, _EDGES[1:-1].to(prob.device), right=True)
            counts = torch.bincount(bins, minlength=_BINS)
            positives = torch.bincount(bins[lesion], minlength=_BINS)
            rows.append(torch.cat([counts, positives, torch.bincount(bins, prob.double(), minlength=_BINS)]).double())
        return torch.stack(rows)

    def _scores_from(self, rows: Tensor) -> dict[str, Tensor]:
        counts, positives, sums = _calibration_bins(rows)
        return {"calibration_error": (sums - positives).abs().sum(dim=1) / counts.sum(dim=1)}


def calibration_curve(rows: Tensor, threshold: float = 0.5) -> dict[str, Any]:
    """Compare probabilities with how often they are right, over the pixels of all images.

    Args:
        rows: the measurements of a :class:`ProbabilityBinMetric`, a row per image.
        threshold: probabilities from here are predicted to be lesion; a multiple of 0.01, or the nearest is taken.

    Returns:
        ``probability`` and ``lesion``: of twenty bins the mean probability and the share of pixels that are lesion,
        None for an empty bin; ``pixels``: the share of all pixels in each; ``error``: the expected calibration error;
        ``doubtful``: the shares of ``pixels`` and of wrong ones, ``errors``, with a probability from 0.25 to 0.75.
    """
    counts, positives, sums = (part.sum(dim=0) for part in _calibration_bins(rows))
    total = counts.sum()
    filled = counts > 0
    means, shares = (
        [value if known else None for value, known in zip((part / counts).tolist(), filled.tolist(), strict=True)]
        for part in (sums, positives)
    )
    count, positive = (part.sum(dim=0) for part in rows.double().split(_BINS, dim=1)[:2])
    wrong = torch.where(torch.arange(_BINS) >= _bin_of(threshold), count - positive, positive)
    low, high = _DOUBTFUL
    return {
        "probability": means,
        "lesion": shares,
        "pixels": (counts / total).tolist(),
        "error": float((sums - positives).abs().sum() / total),
        "doubtful": {
            "pixels": float(count[low:high].sum() / total),
            "errors": float(wrong[low:high].sum() / wrong.sum()) if wrong.sum() else None,
        },
    }


def threshold_curve(rows: Tensor) -> dict[str, list[float]]:
    """Score every image at the thresholds 0.01 to 0.99 and average over images.

    Args:
        rows: the measurements of a :class:`ProbabilityBinMetric`, a row per image.

    Returns:
        ``threshold``, and for each of them ``mean_dice``, ``mean_iou``, ``mean_recall`` and ``mean_precision``.
    """
    counts, positives, _ = rows.double().split(_BINS, dim=1)
    total, lesion = counts.sum(dim=1), positives.sum(dim=1)
    # From the top: how many pixels, and how many of them lesion, are at or above each edge.
    above, found = (part.flip(1).cumsum(dim=1).flip(1) for part in (counts, positives))
    curves: dict[str, list[float]] = {"threshold": [], **{f"mean_{name}": [] for name in _CURVES}}
    for index in range(1, _BINS):
        tp, fp = found[:, index], above[:, index] - found[:, index]
        scores = scores_from_counts(torch.stack([tp, fp, lesion - tp, total - lesion - fp], dim=1))
        curves["threshold"].append(index / _BINS)
        for name in _CURVES:
            curves[f"mean_{name}"].append(float(scores[name].mean()))
    return curves


def _bin_of(threshold: float) -> int:
    return int(np.clip(round(threshold * _BINS), 0, _BINS))


def _calibration_bins(rows: Tensor) -> tuple[Tensor, ...]:
    """Pixels, pixels of lesion, and sums of probabilities of wider bins, each ``(N, 20)``."""
    return tuple(part.unflatten(1, (_CALIBRATION_BINS, -1)).sum(dim=2) for part in rows.double().split(_BINS, dim=1))
