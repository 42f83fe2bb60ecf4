"""Overlay of a predicted mask on the image it came from."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ImageMetaKey
from torch import Tensor

from condseg_monai.data.images.image_reader import read_natural_image
from condseg_monai.reports.drawing import draw_overlay

__all__ = ["DrawOverlayd"]


class DrawOverlayd(MapTransform):
    """Draw the contour of a mask on the file the image came from; see :func:`~condseg_monai.data.draw_overlay`.

    Args:
        keys: the mask, ``(1, H, W)`` of 0 and 1 in the size of the file, with its metadata.
        output_key: the entry for the picture, ``(3, H, W)``, ``uint8``.
    """

    def __init__(self, keys: KeysCollection, output_key: str = "overlay") -> None:
        super().__init__(keys)
        self.output_key = output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with the picture added."""
        result = dict(data)
        for key in self.key_iterator(result):
            mask: MetaTensor = result[key]
            image = read_natural_image(mask.meta[ImageMetaKey.FILENAME_OR_OBJ])
            image = image.round().astype(np.uint8)  # 16-bit files have fractions of [0, 255]
            overlay = draw_overlay(image, mask.as_tensor()[0].cpu().numpy())
            picture: Tensor = torch.from_numpy(np.ascontiguousarray(overlay.transpose(2, 0, 1)))
            result[self.output_key] = MetaTensor(picture, meta=mask.meta)
        return result
