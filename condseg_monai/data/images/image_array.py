"""Images in memory as the reader of files gives them."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from condseg_monai.data.images.image_reader import image_pixels, pixels_in_mode

__all__ = ["as_image_array"]

_WHITE = np.float32(65535)


def as_image_array(image: Any, mode: str = "RGB") -> np.ndarray:
    """Convert an image in memory to what :func:`~condseg_monai.read_natural_image` makes of its lossless file.

    Args:
        image: a PIL image; or an array ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` or, of ``uint8`` with alpha, ``(H, W,
            4)``: ``uint8``, ``uint16`` from 0 to 65535, or floating point from 0 to 1.
        mode: as for :func:`~condseg_monai.read_natural_image`.

    Raises:
        ValueError: if it is something else, empty, or has values out of range; the message says what was found.
    """
    if isinstance(image, Image.Image):
        if 0 in image.size:
            raise ValueError(f"an image must have pixels, got a size of {image.width}x{image.height}")
        try:
            read = image.copy()
        except (OSError, SyntaxError, AttributeError) as error:  # truncated, broken, closed
            raise ValueError(f"the image cannot be read: {error}") from error
        return pixels_in_mode(image_pixels(read, getattr(image, "tag_v2", None)), mode)
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    channels = array.shape[2] if array.ndim == 3 else 1
    if (
        array.ndim not in (2, 3)
        or 0 in array.shape
        or channels not in ((1, 3, 4) if array.dtype == np.uint8 else (1, 3))
    ):
        raise ValueError(f"an image must be (H, W), (H, W, 3) or, of uint8, (H, W, 4), got {array.shape} {array.dtype}")
    if array.dtype == np.uint8:
        return pixels_in_mode(image_pixels(Image.fromarray(array)), mode)
    if array.dtype == np.uint16:
        return pixels_in_mode(array.astype(np.float32) / _WHITE * np.float32(255), mode)
    if array.dtype.kind != "f":
        raise ValueError(f"an image must be uint8, uint16 or floating point, got {array.dtype}")
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        raise ValueError(
            f"a floating-point image must be in [0, 1], got {array.min():g} to {array.max():g}: divide it by its "
            "white, or give uint8 or uint16"
        )
    return pixels_in_mode(array.astype(np.float32) * np.float32(255), mode)
