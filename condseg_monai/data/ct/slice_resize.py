"""Between the size of a slice and that of the network, as TransUNet does it, and its scores the smooth way back."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from scipy.ndimage import zoom
from torch import Tensor

__all__ = ["resize_label_slice", "resize_scores", "resize_slice"]


def resize_slice(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a slice by cubic splines; the centres of its corner pixels stay in the corners.

    Args:
        image: ``(H, W)``, floating point.
        size: the new (H, W).

    Returns:
        ``(h, w)`` float32; where grey values jump, a little outside the range of ``image``.
    """
    return _zoom(np.asarray(image, dtype=np.float32), size, order=3)


def resize_label_slice(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a slice of class numbers, each new pixel taking the nearest; the other way round of :func:`resize_slice`.

    Args:
        label: ``(H, W)``, integers.
        size: the new (H, W).

    Returns:
        ``(h, w)`` of the same type.
    """
    return _zoom(np.asarray(label), size, order=0)


def resize_scores(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate scores bilinearly on the grid that :func:`resize_slice` uses: corners stay in the corners.

    Args:
        scores: ``(B, C, h, w)``.
        size: the new (H, W).

    Returns:
        ``(B, C, H, W)``.
    """
    return F.interpolate(scores, size, mode="bilinear", align_corners=True)


def _zoom(array: np.ndarray, size: tuple[int, int], order: int) -> np.ndarray:
    if array.ndim != 2:
        raise ValueError(f"a slice must be (H, W), got {array.shape}")
    if array.shape == tuple(size):
        return array.copy()
    factors = tuple(new / old for new, old in zip(size, array.shape, strict=True))
    resized = np.asarray(zoom(array, factors, order=order))
    if resized.shape != tuple(size):  # pragma: no cover
        raise AssertionError(f"zoom gave {resized.shape} for {size}")
    return resized
