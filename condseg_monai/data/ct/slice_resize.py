"""Resize slices as TransUNet does, and scores back to the slice's size."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from scipy.ndimage import zoom
from torch import Tensor

__all__ = ["resize_label_slice", "resize_scores", "resize_slice"]


def resize_slice(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize ``(H, W)`` to ``size`` by cubic splines; the centres of its corner pixels stay in the corners."""
    return _zoom(np.asarray(image, dtype=np.float32), size, order=3)


def resize_label_slice(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize class numbers ``(H, W)`` on the same grid, each new pixel taking the nearest."""
    return _zoom(np.asarray(label), size, order=0)


def resize_scores(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate scores ``(B, C, h, w)`` to ``size`` bilinearly on the same grid."""
    return F.interpolate(scores, size, mode="bilinear", align_corners=True)


def _zoom(array: np.ndarray, size: tuple[int, int], order: int) -> np.ndarray:
    if array.ndim != 2:
        raise ValueError(f"a slice must be (H, W), got {array.shape}")
    if array.shape == tuple(size):
        return array.copy()
    factors = tuple(new / old for new, old in zip(size, array.shape, strict=True))
    return np.asarray(zoom(array, factors, order=order))
