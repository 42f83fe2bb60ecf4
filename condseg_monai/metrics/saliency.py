"""Salient-object scores of probability maps, computed by PySODMetrics."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from monai.utils import optional_import
from numpy.typing import ArrayLike
from torch import Tensor

from condseg_monai.metrics.score_metric import ScoreMetric

__all__ = ["SALIENCY_SCORES", "SaliencyScoreMetric", "saliency_scores"]

SALIENCY_SCORES = ("s_measure", "e_measure", "weighted_f", "mae", "swept_dice", "swept_iou")
"""Structure measure, mean E-measure, weighted F-measure, mean absolute error, Dice and IoU over 256 thresholds."""

_ROUNDING = 1e-5  # of interpolation in single precision

py_sod_metrics, _has_py_sod_metrics = optional_import("py_sod_metrics")


def saliency_scores(probs: ArrayLike, label: ArrayLike, *, stretch: bool = False) -> dict[str, float]:
    """Score one probability map ``(H, W)`` in [0, 1] against a mask ``(H, W)``.

    Source: S-measure, Fan et al., ICCV 2017; E-measure, Fan et al., IJCAI 2018; weighted F-measure (beta 1), Margolin
    et al., CVPR 2014. E-measure, Dice and IoU are averaged over the 256 thresholds of an 8-bit map; these are the mDice
    and mIoU of PraNet and its successors, DEC-Seg among them, not the Dice and IoU of a mask. Of an empty label,
    S-measure is 1 less the mean probability, and weighted F-measure, swept Dice and IoU are 0 even if nothing was
    predicted.

    Args:
        probs: the map.
        label: bool or holding only 0 and 1.
        stretch: stretch ``probs`` to the full [0, 1] first, as the field's MATLAB code does.

    Returns:
        The scores by name, in the order of ``SALIENCY_SCORES``; low is good for ``mae`` only.
    """
    if not _has_py_sod_metrics:
        raise ImportError('saliency scores need PySODMetrics: pip install "condseg_monai[saliency]"')
    prob_map, mask = _as_array(probs).astype(np.float64), _as_array(label)
    if prob_map.ndim != 2 or prob_map.shape != mask.shape:
        raise ValueError(f"probs and label must both be (H, W), got probs {prob_map.shape} and label {mask.shape}")
    if not (prob_map.min() >= -_ROUNDING and prob_map.max() <= 1 + _ROUNDING):
        raise ValueError(f"probs must be in [0, 1], got [{prob_map.min():g}, {prob_map.max():g}]")
    prob_map = prob_map.clip(0, 1)
    if not np.isin(mask, (0, 1)).all():
        raise ValueError("label must hold only 0 and 1: threshold it first")
    if stretch and prob_map.max() > prob_map.min():
        prob_map = (prob_map - prob_map.min()) / (prob_map.max() - prob_map.min())
    pair = {"pred": prob_map, "gt": mask.astype(bool), "normalize": False}
    swept = {
        "dice": py_sod_metrics.DICEHandler(with_dynamic=True, with_adaptive=False),
        "iou": py_sod_metrics.IOUHandler(with_dynamic=True, with_adaptive=False),
    }
    measures = {
        "s_measure": py_sod_metrics.Smeasure(),
        "e_measure": py_sod_metrics.Emeasure(),
        "weighted_f": py_sod_metrics.WeightedFmeasure(),
        "mae": py_sod_metrics.MAE(),
        "swept": py_sod_metrics.FmeasureV2(swept),
    }
    for measure in measures.values():
        measure.step(**pair)
    results = {name: measure.get_results() for name, measure in measures.items()}
    return {
        "s_measure": float(results["s_measure"]["sm"]),
        "e_measure": float(results["e_measure"]["em"]["curve"].mean()),
        "weighted_f": float(results["weighted_f"]["wfm"]),
        "mae": float(results["mae"]["mae"]),
        **{f"swept_{name}": float(results["swept"][name]["dynamic"].mean()) for name in swept},
    }


class SaliencyScoreMetric(ScoreMetric):
    """One of the saliency scores of every image, and its average, for a MONAI engine; see :class:`ScoreMetric`.

    It is called with probabilities, not masks.

    Args:
        score: a name in ``SALIENCY_SCORES``.
        stretch: see :func:`saliency_scores`.
        source: the metric whose scores to read; it has its own ``stretch``. ``None`` measures itself.

    Raises:
        ValueError: if ``score`` is unknown, or ``source`` reads from another metric itself. Calling it raises
            ImportError, naming the extra, if PySODMetrics is not installed.
    """

    scores: ClassVar[tuple[str, ...]] = SALIENCY_SCORES

    def __init__(self, score: str, stretch: bool = False, source: SaliencyScoreMetric | None = None) -> None:
        super().__init__(score, source)
        self.stretch = stretch

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        pairs = zip(y_pred, self._required(y), strict=True)
        rows = [list(saliency_scores(probs[0], label[0], stretch=self.stretch).values()) for probs, label in pairs]
        return torch.tensor(rows, dtype=torch.float64, device=y_pred.device)


def _as_array(values: ArrayLike) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().as_subclass(Tensor).float().cpu().numpy()
    return np.asarray(values)
