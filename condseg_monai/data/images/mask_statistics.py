"""What the values of one mask file say: how much is foreground, and whether they are what a mask should have."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

__all__ = ["MaskStatistics", "mask_statistics"]

_NOISE = 10  # JPEG masks have values up to 7, and from 248: twice what has been seen would reach into object numbers
_NEAR_WHITE = 255 - _NOISE


class MaskStatistics(NamedTuple):
    """Counts of pixels of one mask.

    Attributes:
        pixels: all of them.
        foreground: those above the threshold.
        neither: those that are neither 0 or 1 nor, in a mask that reaches white, within 10 of 0 or 255: soft edges,
            object numbers, classes.
        noise: those above the threshold though within 10 of black, in a mask that reaches white.
        largest: the largest value, in [0, 255].
        coloured: whether the file has colours rather than grey.
        digest: of the foreground, equal for equal masks however they are stored.
    """

    pixels: int
    foreground: int
    neither: int
    noise: int
    largest: float
    coloured: bool
    digest: str


def mask_statistics(colours: np.ndarray, threshold: float) -> MaskStatistics:
    """Count.

    Args:
        colours: ``(H, W, 3)`` in [0, 255], a mask file as :func:`~condseg_monai.data.read_natural_image` reads it with
            ``mode="RGB"``.
        threshold: values above it are foreground.
    """
    coloured = bool((colours[..., 0] != colours[..., 1]).any() or (colours[..., 1] != colours[..., 2]).any())
    values = colours.max(axis=2)
    foreground = values > threshold
    largest = float(values.max())
    if largest >= _NEAR_WHITE:
        neither = int(((values > _NOISE) & (values < _NEAR_WHITE)).sum())
        noise = int((foreground & (values <= _NOISE)).sum())
    else:
        neither, noise = int((values > 1).sum()), 0
    digest = hashlib.sha256(f"{foreground.shape}".encode() + np.packbits(foreground).tobytes()).hexdigest()
    return MaskStatistics(values.size, int(foreground.sum()), neither, noise, largest, coloured, digest)
