"""Dice and HD95 of each organ in a label volume, with a stated rule for missed organs and with TransUNet's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import find_objects

from condseg_monai.metrics.surface_distance import (
    EMPTY_DISTANCES,
    Spacing,
    surface_distance_scores,
    surface_distances,
)

__all__ = ["TRANSUNET_RULE", "VOLUME_SCORES", "OrganScores", "organ_scores", "transunet_scores"]

VOLUME_SCORES = ("dice", "hd95_mm", "transunet_dice", "transunet_hd95_voxels")
"""The scores of each organ of a volume, in the order of every table."""

TRANSUNET_RULE = (
    "organ in label and prediction: medpy's dc, and its hd95 in voxels, whatever their size (the 95th percentile of "
    "the distances of both directions together); predicted though not there: Dice 1 and distance 0; missed, or neither "
    "there nor predicted: Dice 0 and distance 0"
)
"""How TransUNet and its successors score; it rewards a made-up organ, and gives a missed one the best distance."""


class OrganScores(NamedTuple):
    """Scores of one organ in one volume."""

    dice: float
    """In [0, 1]: 1 if it is neither there nor predicted, 0 if it is only one of the two."""
    hd95_mm: float
    """95th percentile of the Hausdorff distance, the larger direction, in millimetres."""
    transunet_dice: float
    """By :data:`TRANSUNET_RULE`."""
    transunet_hd95_voxels: float
    """By :data:`TRANSUNET_RULE`."""
    pred_ml: float
    """Predicted volume in millilitres."""
    label_ml: float
    """True volume in millilitres."""


def transunet_scores(pred: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """Score one organ, ``(D, H, W)`` bool, by :data:`TRANSUNET_RULE`: Dice in [0, 1], and HD95 in voxels.

    Example:
        >>> nothing = np.zeros((2, 3, 4), dtype=bool)
        >>> transunet_scores(~nothing, nothing), transunet_scores(nothing, ~nothing)
        ((1.0, 0.0), (0.0, 0.0))
    """
    distances = surface_distances(pred, label)
    if distances is None:
        return float(np.any(pred) and not np.any(label)), 0.0
    return _dice(pred, label), float(np.percentile(np.concatenate(distances), 95))


def organ_scores(
    pred: np.ndarray,
    label: np.ndarray,
    num_classes: int,
    spacing_mm: Spacing = (1.0, 1.0, 1.0),
    empty: str = "diagonal",
) -> list[OrganScores]:
    """Score each organ of a volume, ``(D, H, W)`` class numbers: classes 1 to ``num_classes - 1``.

    ``spacing_mm`` is that of the three axes, or ``(3, 3)``, a column per axis, where they are at no right angles.
    ``empty`` is the distance where an organ is missed or made up, see ``EMPTY_DISTANCES``.
    """
    if pred.shape != label.shape or pred.ndim != 3:
        raise ValueError(f"pred and label must be (D, H, W), got {pred.shape} and {label.shape}")
    if empty not in EMPTY_DISTANCES:
        raise ValueError(f"empty must be one of {', '.join(EMPTY_DISTANCES)}, got {empty!r}")
    for name, array in (("pred", pred), ("label", label)):
        if array.min() < 0 or array.max() >= num_classes:
            raise ValueError(f"{name} must hold classes 0 to {num_classes - 1}, got {array.min():g} to {array.max():g}")
    millilitres = float(abs(np.linalg.det(spacing_mm)) if np.ndim(spacing_mm) == 2 else np.prod(spacing_mm)) / 1000
    boxes = [find_objects(array.astype(np.uint8, copy=False), max_label=num_classes - 1) for array in (pred, label)]
    scores = []
    for number in range(1, num_classes):
        box = _around([found[number - 1] for found in boxes])
        # Nothing outside the box around both changes a score, but the diagonal, of the whole volume.
        p, q = (array[box] == number for array in (pred, label))
        masks = (p, q) if p.any() and q.any() else (pred == number, label == number)
        distance = surface_distance_scores(*masks, empty=empty, spacing=spacing_mm)["hd95"]
        dice = _dice(p, q) if p.any() or q.any() else 1.0
        sizes = (float(mask.sum()) * millilitres for mask in (p, q))
        scores.append(OrganScores(dice, distance, *transunet_scores(p, q), *sizes))
    return scores


def _dice(pred: np.ndarray, label: np.ndarray) -> float:
    return 2.0 * int((pred & label).sum()) / (int(pred.sum()) + int(label.sum()))


def _around(boxes: Sequence[tuple[slice, ...] | None]) -> tuple[slice, ...]:
    found = [box for box in boxes if box is not None] or [(slice(0, 1),) * 3]
    return tuple(
        slice(min(axis.start for axis in axes), max(axis.stop for axis in axes)) for axes in zip(*found, strict=True)
    )
