"""Overlay of a predicted mask on its image."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from condseg_monai.reports.drawing import draw_overlay

__all__ = ["DrawOverlayd"]


class DrawOverlayd(MapTransform):
    """Draw the contour of a mask on its image; see :func:`~condseg_monai.reports.drawing.draw_overlay`.

    Args:
        keys: the mask, ``(1, H, W)`` of 0 and 1, with its metadata.
        picture_key: the image as its file has it, ``(3, H, W)`` in [0, 255].
        output_key: the entry for the overlay, ``(3, H, W)``, ``uint8``.
    """

    def __init__(self, keys: KeysCollection, picture_key: str = "picture", output_key: str = "overlay") -> None:
        super().__init__(keys)
        self.picture_key = picture_key
        self.output_key = output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with the overlay added."""
        result = dict(data)
        for key in self.key_iterator(result):
            mask: MetaTensor = result[key]
            # 16-bit files have fractions of [0, 255]
            picture = np.asarray(result[self.picture_key].cpu()).round().astype(np.uint8).transpose(1, 2, 0)
            overlay = draw_overlay(picture, mask.as_tensor()[0].cpu().numpy())
            result[self.output_key] = MetaTensor(torch.from_numpy(overlay.transpose(2, 0, 1).copy()), meta=mask.meta)
        return result
