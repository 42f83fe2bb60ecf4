"""Reading of masks: as 0 and 1, or as indices of classes, or an error that names the file."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath
from typing import Any

import numpy as np

from condseg_monai.data.images.image_reader import UnreadableImageError, read_pixels
from condseg_monai.data.images.mask_values import class_indices, refuse_classes

__all__ = ["read_mask"]

DEFAULT_THRESHOLD = 127.0


def read_mask(
    path: str | PathLike[str], threshold: float | None = None, class_values: Sequence[Any] | None = None
) -> np.ndarray:
    """Read a mask: ``(H, W)``, ``uint8``, 0 and 1 or, with ``class_values``, indices of classes.

    Args:
        path: a file as :func:`~condseg_monai.data.images.image_reader.read_natural_image` reads it.
        threshold: values in [0, 255] above it are foreground, of colours the brightest channel; None is 127 and takes
            only masks in which at most two values fill an area (:func:`flat_values`).
        class_values: of each class the number or the colour, background first. Numbers are what the file stores:
            palette indices, 16-bit integers as they are.

    Raises:
        UnreadableImageError: naming the file, if it cannot be read or has values of no class.
    """
    pixels = read_pixels(path, numbers=stores_numbers(class_values))
    try:
        if class_values is not None:
            return class_indices(pixels, class_values)
        if threshold is None:
            refuse_classes(pixels)
    except ValueError as error:
        raise UnreadableImageError(f"{fspath(path)}: {error}") from error
    return binarize(pixels, threshold).astype(np.uint8)


def binarize(pixels: np.ndarray, threshold: float | None) -> np.ndarray:
    """Foreground, ``(H, W)`` bool: what is above the threshold, of colours by the brightest channel."""
    values = pixels if pixels.ndim == 2 else pixels.max(axis=2)
    return values > (DEFAULT_THRESHOLD if threshold is None else threshold)


def stores_numbers(class_values: Sequence[Any] | None) -> bool:
    """Whether masks of classes have numbers, and not colours."""
    return class_values is not None and isinstance(class_values[0], (int, float))
