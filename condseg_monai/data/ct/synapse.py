"""Synapse: organs and their label numbers, the CT window, the orientation of slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["CT_WINDOW_HU", "synapse_class_names"]

CT_WINDOW_HU = (-125.0, 275.0)
"""Hounsfield units that become 0 and 1."""

SLICE_ORIENTATION = "PL"
"""Rows of an axial slice lead to the patient's back, columns to the left; slices count towards the head.

An array ``(D, H, W)`` of slices is a volume with the axis codes LPS (those of DICOM), its axes reversed.
"""

BTCV_ORGANS = (
    *("spleen", "right kidney", "left kidney", "gallbladder", "oesophagus", "liver", "stomach", "aorta"),
    *("inferior vena cava", "portal and splenic vein", "pancreas", "right adrenal gland", "left adrenal gland"),
)
"""Labels 1 to 13 of the BTCV challenge, "Beyond the Cranial Vault: Abdomen", from which Synapse is made."""

SYNAPSE_ORGANS: dict[str, tuple[str, ...]] = {
    "transunet": ("aorta", "gallbladder", "left kidney", "right kidney", "liver", "pancreas", "spleen", "stomach"),
    "samed": ("spleen", "right kidney", "left kidney", "gallbladder", "liver", "stomach", "aorta", "pancreas"),
}
"""The names of labels 1 to 8, by order: TransUNet's files have the first, SAMed's and CASCADE's line the second.

Both are called "Synapse": weights of one, scored with labels of the other, confuse organs without an error.
"""


def synapse_class_names(order: str = "transunet") -> tuple[str, ...]:
    """Name the nine classes of Synapse, background first, in an order of :data:`SYNAPSE_ORGANS`.

    Raises:
        ValueError: if the order is unknown.

    Example:
        >>> synapse_class_names()[3:5]
        ('left kidney', 'right kidney')
    """
    if order not in SYNAPSE_ORGANS:
        raise ValueError(f"organ_order must be one of {', '.join(SYNAPSE_ORGANS)}, got {order!r}")
    return ("background", *SYNAPSE_ORGANS[order])


def btcv_label_map(order: str = "transunet") -> np.ndarray:
    """Give each of BTCV's 14 labels its ``uint8`` label in Synapse; organs left out become background."""
    names = synapse_class_names(order)
    return np.array([0, *(names.index(organ) if organ in names else 0 for organ in BTCV_ORGANS)], dtype=np.uint8)


def window_ct(image: np.ndarray, window_hu: Sequence[float] = CT_WINDOW_HU) -> np.ndarray:
    """Clip Hounsfield units to a window, two finite numbers, and scale them to ``float32`` in [0, 1].

    Example:
        >>> window_ct(np.array([-1000, -125, 75, 275, 3000])).tolist()
        [0.0, 0.0, 0.5, 1.0, 1.0]
    """
    bounds = [float(value) for value in window_hu]
    if len(bounds) != 2 or not np.isfinite(bounds).all() or bounds[0] >= bounds[1]:
        raise ValueError(f"window_hu must be two finite numbers, the lower first, got {window_hu!r}")
    lower, upper = bounds
    scaled = (np.asarray(image, dtype=np.float32) - np.float32(lower)) / np.float32(upper - lower)
    return np.clip(scaled, 0, 1, out=scaled)
