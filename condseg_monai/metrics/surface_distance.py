"""Surface distances: HD95 and average distance of two masks, with a rule for empty masks that has to be chosen."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, ClassVar

import numpy as np
import torch
from monai.metrics.utils import get_mask_edges, get_surface_distance
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree
from torch import Tensor

from condseg_monai.metrics.score_metric import ScoreMetric, check_pair

__all__ = [
    "EMPTY_DISTANCES",
    "SURFACE_DISTANCES",
    "SurfaceDistanceMetric",
    "surface_distance_scores",
    "surface_distances",
]

Spacing = float | Sequence[float] | np.ndarray

SURFACE_DISTANCES = ("hd95", "asd")
"""95th percentile of the Hausdorff distance, average symmetric surface distance."""

EMPTY_DISTANCES = {
    "nan": "NaN if label, prediction or both are empty, and left out of averages: missing a lesion improves them",
    "inf": "infinity if exactly one of label and prediction is empty, 0 if both are",
    "diagonal": "the diagonal of the image if exactly one of label and prediction is empty, 0 if both are",
    "zero": "0 if label, prediction or both are empty, as the evaluation of TransUNet and its successors has it: "
    "missing a lesion is the best distance there is",
}
"""What the distance is where there is no boundary to measure from or to; there is no right answer, so name yours."""


def surface_distances(
    pred: ArrayLike, label: ArrayLike, spacing: Spacing = 1.0
) -> tuple[np.ndarray, np.ndarray] | None:
    """Measure from each boundary to the other, with MONAI's functions, in single precision.

    The boundary of a mask is the pixels that touch its outside by an edge; what lies beyond the image is outside.
    ``spacing`` may also be ``(N, N)``, a column per axis, of axes that are at no right angles: a tilted gantry.

    Returns:
        Of each boundary pixel of the prediction the distance to the label's boundary, and the other way round; ``None``
        if one of the masks is empty.
    """
    pred_mask, label_mask = _as_mask("pred", pred), _as_mask("label", label)
    if pred_mask.shape != label_mask.shape:
        raise ValueError(f"pred and label must have one shape, got pred {pred_mask.shape} and label {label_mask.shape}")
    axes = np.asarray(spacing, dtype=float) if np.ndim(spacing) == 2 else None
    steps = _spacing(spacing, pred_mask.ndim)
    if not pred_mask.any() or not label_mask.any():
        return None
    pred_edge, label_edge = get_mask_edges(pred_mask, label_mask)
    if axes is not None:  # MONAI's transform of distances has axes at right angles alone
        pred_points, label_points = (np.argwhere(edge) @ axes.T for edge in (pred_edge, label_edge))
        return cKDTree(label_points).query(pred_points)[0], cKDTree(pred_points).query(label_points)[0]
    to_label = get_surface_distance(pred_edge, label_edge, spacing=steps)
    to_pred = get_surface_distance(label_edge, pred_edge, spacing=steps)
    return np.asarray(to_label, dtype=np.float64), np.asarray(to_pred, dtype=np.float64)


def surface_distance_scores(
    pred: ArrayLike, label: ArrayLike, *, empty: str, spacing: Spacing = 1.0
) -> dict[str, float]:
    """Return HD95 and the average symmetric surface distance of two masks.

    HD95 is the larger of the two directions' 95th percentiles, as MONAI has it. (medpy's ``hd95`` takes one percentile
    of both directions together, which is at most as large.) The average is over the boundary pixels of both masks.

    Args:
        pred: predicted mask, ``(H, W)`` or ``(H, W, D)``, bool or holding only 0 and 1.
        label: true mask, same shape.
        empty: what to return where a mask is empty: a name in ``EMPTY_DISTANCES``.
        spacing: distance of neighbouring pixels, one for all axes or one for each, or ``(N, N)`` axes.

    Returns:
        ``hd95`` and ``asd`` in the unit of ``spacing``.

    Raises:
        ValueError: if an argument is out of range or the masks do not fit together.

    Example:
        >>> label = np.zeros((4, 4)); label[0, 0] = 1
        >>> pred = np.zeros((4, 4)); pred[0, 3] = 1
        >>> surface_distance_scores(pred, label, empty="diagonal")
        {'hd95': 3.0, 'asd': 3.0}
    """
    _check_empty(empty)
    distances = surface_distances(pred, label, spacing)
    if distances is None:
        return dict.fromkeys(SURFACE_DISTANCES, _distance_of_empty(pred, label, empty, spacing))
    hd95 = max(float(np.percentile(direction, 95)) for direction in distances)
    return {"hd95": hd95, "asd": float(np.concatenate(distances).mean())}


class SurfaceDistanceMetric(ScoreMetric):
    """HD95 or average surface distance of every image, and its average, for a MONAI engine; see :class:`ScoreMetric`.

    MONAI's own metrics drop images whose lesion was missed from the average, so that it improves with every miss. Here
    the rule is an argument.

    Args:
        score: ``"hd95"`` or ``"asd"``.
        empty: what the distance is where a mask is empty: a name in ``EMPTY_DISTANCES``.
        spacing: distance of neighbouring pixels, ``(H, W)`` or one for both; distances have its unit.
        source: the metric whose distances to read; it has its own ``empty`` and ``spacing``. ``None`` measures itself.
        skip_absent: NaN, which averages leave out, where both masks are empty; for one class of several.

    Raises:
        ValueError: if ``score``, ``empty`` or ``spacing`` is not one of these, or ``source`` reads from another metric.

    Example:
        >>> metric = SurfaceDistanceMetric("hd95", empty="diagonal")
        >>> _ = metric(torch.zeros(1, 1, 3, 4), torch.ones(1, 1, 3, 4))
        >>> metric.aggregate().item()
        5.0
    """

    scores: ClassVar[tuple[str, ...]] = SURFACE_DISTANCES

    def __init__(
        self,
        score: str,
        empty: str,
        spacing: float | Sequence[float] = 1.0,
        source: SurfaceDistanceMetric | None = None,
        skip_absent: bool = False,
    ) -> None:
        super().__init__(score, source)
        _check_empty(empty)
        self.empty = empty
        self.spacing = _spacing(spacing, 2)
        self.skip_absent = skip_absent

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        label = self._required(y)
        check_pair(y_pred, label)
        rows = [
            [float("nan")] * len(SURFACE_DISTANCES)
            if self.skip_absent and not (p.any() or q.any())
            else list(surface_distance_scores(p[0], q[0], empty=self.empty, spacing=self.spacing).values())
            for p, q in zip(y_pred, label, strict=True)
        ]
        return torch.tensor(rows, dtype=torch.float64, device=label.device)


def _distance_of_empty(pred: ArrayLike, label: ArrayLike, empty: str, spacing: Spacing) -> float:
    """The distance if there is no pixel in ``pred``, ``label`` or both."""
    label_mask = _as_mask("label", label)
    if empty == "nan":
        return float("nan")
    if empty == "zero" or not (label_mask.any() or _as_mask("pred", pred).any()):
        return 0.0
    if empty == "inf":
        return float("inf")
    if np.ndim(spacing) == 2:
        corners = np.array([*product((-1, 1), repeat=label_mask.ndim)]) * label_mask.shape
        return float(np.linalg.norm(corners @ np.asarray(spacing, dtype=float).T, axis=1).max())
    return float(np.linalg.norm(np.multiply(label_mask.shape, _spacing(spacing, label_mask.ndim))))


def _check_empty(empty: str) -> None:
    if empty not in EMPTY_DISTANCES:
        raise ValueError(f"empty must be one of {', '.join(EMPTY_DISTANCES)}, got {empty!r}")


def _spacing(spacing: Spacing, axes: int) -> tuple[float, ...]:
    values = np.asarray(spacing, dtype=float)
    values = np.linalg.norm(values, axis=0) if values.ndim == 2 else values
    steps = tuple(float(step) for step in np.broadcast_to(values, (axes,)))
    if not all(0 < step < float("inf") for step in steps):
        raise ValueError(f"spacing must be positive, got {spacing}")
    return steps


def _as_mask(name: str, mask: ArrayLike) -> np.ndarray:
    if isinstance(mask, Tensor):
        mask = mask.detach().as_subclass(Tensor).cpu().numpy()
    array = np.asarray(mask)
    if array.ndim not in (2, 3):
        raise ValueError(f"{name} must be (H, W) or (H, W, D), got {array.shape}")
    if array.dtype != bool and not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name} must hold only 0 and 1: threshold it first")
    return array.astype(bool)
