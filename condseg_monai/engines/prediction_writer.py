"""Predictions on disk, whole or not at all."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor, PILWriter
from monai.transforms import MapTransform
from monai.utils import ImageMetaKey
from PIL import Image
from torch import Tensor

from condseg_monai.data.image_reader import read_natural_image
from condseg_monai.data.pictures import draw_overlay
from condseg_monai.engines.files import atomic_write

__all__ = ["DrawOverlayd", "PredictionWriter"]


class PredictionWriter(PILWriter):
    """Write values in [0, 1] as a PNG from 0 to 255 or unrounded as an ``(H, W)`` ``float32`` NPY, for ``SaveImaged``.

    A file appears when it is complete: a run that is killed leaves no half mask that the next one would take for done.
    8-bit integers, such as pictures in ``(H, W, 3)``, go to the PNG as they are.
    """

    def write(self, filename: str | PathLike[str], verbose: bool = False, **kwargs: Any) -> None:
        """Write what ``set_data_array`` was given.

        Args:
            filename: ends in ``.png`` or ``.npy``.
            verbose: not used; progress is shown elsewhere.
            kwargs: not used.

        Raises:
            ValueError: if ``filename`` ends in something else.
        """
        path = Path(filename)
        array = np.moveaxis(np.asarray(self.data_obj), 0, 1)  # MONAI's (W, H) to rows first
        if path.suffix == ".npy":
            with atomic_write(path) as temporary, temporary.open("wb") as stream:
                np.save(stream, array.astype(np.float32))
        elif path.suffix == ".png":
            if array.dtype != np.uint8:
                array = (np.clip(array, 0, 1) * 255).round().astype(np.uint8)
            with atomic_write(path) as temporary:
                Image.fromarray(np.ascontiguousarray(array)).save(temporary, format="PNG")
        else:
            raise ValueError(f"a prediction is written as .png or .npy, not as {path.name}")


class DrawOverlayd(MapTransform):
    """Draw the contour of a mask on the file the image came from; see :func:`~condseg_monai.data.draw_overlay`.

    Args:
        keys: the mask, ``(1, W, H)`` of 0 and 1 in MONAI's order and the size of the file, with its metadata.
        output_key: the entry for the picture, ``(3, W, H)``, ``uint8``.
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
            overlay = draw_overlay(image, mask.as_tensor()[0].T.cpu().numpy())
            picture: Tensor = torch.from_numpy(np.ascontiguousarray(overlay.transpose(2, 1, 0)))
            result[self.output_key] = MetaTensor(picture, meta=mask.meta)
        return result
