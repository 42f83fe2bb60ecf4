"""Colours of classes."""

from __future__ import annotations

import numpy as np

__all__ = ["class_colors"]

# From Paul Tol's "bright", "vibrant" and "light" schemes, which colour-blind people distinguish too.
_CLASS_COLORS = np.array(
    "238 102 119, 34 136 51, 102 204 238, 68 119 170, 204 187 68, 170 51 119, 238 119 51, 68 187 153, 255 170 187, "
    "170 170 0, 153 221 255, 221 221 221, 0 119 187".replace(",", " ").split(),
    dtype=np.uint8,
).reshape(-1, 3)


def class_colors(count: int) -> np.ndarray:
    """Colours of classes, ``(count, 3)`` ``uint8``: black for the background; from the fourteenth on they repeat."""
    organs = _CLASS_COLORS[np.arange(count - 1) % len(_CLASS_COLORS)]
    return np.concatenate((np.zeros((1, 3), np.uint8), organs))
