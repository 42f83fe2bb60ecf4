"""Overlay of a predicted mask on its image."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from condseg_monai.reports.drawing import draw_class_overlay, draw_overlay

__all__ = ["DrawOverlayd"]


class DrawOverlayd(MapTransform):
    """Draw the contour of a mask, or of each of its classes, on its image.

    See :func:`~condseg_monai.reports.drawing.draw_overlay` and
    :func:`~condseg_monai.reports.drawing.draw_class_overlay`.

    Args:
        keys: the mask, ``(1, H, W)`` of 0 and 1 or indices of classes, with its metadata.
        picture_key: the image as its file has it, ``(3, H, W)`` or ``(1, H, W)`` in [0, 255].
        output_key: the entry for the overlay, ``(3, H, W)``, ``uint8``.
        classes: by name, background first; None for a binary mask.
    """

    def __init__(
        self,
        keys: KeysCollection,
        picture_key: str = "picture",
        output_key: str = "overlay",
        classes: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(keys)
        self.classes = classes
        self.picture_key = picture_key
        self.output_key = output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with the overlay added."""
        result = dict(data)
        for key in self.key_iterator(result):
            mask: MetaTensor = result[key]
            # 16-bit files have fractions of [0, 255]
            picture = np.asarray(result[self.picture_key].cpu()).round().astype(np.uint8).transpose(1, 2, 0)
            picture = picture[..., 0] if picture.shape[-1] == 1 else picture
            overlay = draw_mask(picture, mask.as_tensor()[0].cpu().numpy(), self.classes)
            result[self.output_key] = MetaTensor(torch.from_numpy(overlay.transpose(2, 0, 1).copy()), meta=mask.meta)
        return result


def draw_mask(picture: np.ndarray, mask: np.ndarray, classes: Mapping[str, Any] | None = None) -> np.ndarray:
    """Draw the contour of a binary mask, or of each class of several, by their names, on a picture."""
    return draw_overlay(picture, mask) if classes is None else draw_class_overlay(picture, mask, list(classes))
