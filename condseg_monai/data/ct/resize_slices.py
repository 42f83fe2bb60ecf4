"""Transform that resizes the slices of a volume for a 2D network, and the network's scores back."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import TraceKeys
from torch import Tensor

from condseg_monai.data.ct.slice_resize import resize_scores, resize_slice

__all__ = ["ResizeSlicesd"]


class ResizeSlicesd(MapTransform, InvertibleTransform):
    """Resize each slice ``(H, W)`` of volumes ``(C, H, W, D)`` to a square, by cubic splines as TransUNet does.

    The inverse, of scores, is bilinear on the same grid; see :mod:`condseg_monai.data.ct.slice_resize`. The affine
    stays that of the whole volume.

    Args:
        keys: entries of the dictionary.
        image_size: side of the square in pixels.
        allow_missing_keys: leave out keys that are not there.

    Raises:
        ValueError: if ``image_size`` is not positive.
    """

    def __init__(self, keys: KeysCollection, image_size: int, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        if image_size < 1:
            raise ValueError(f"image_size must be positive, got {image_size}")
        self.image_size = image_size

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resize the entries to ``(C, image_size, image_size, D)``, ``float32``."""
        result, size = dict(data), (self.image_size, self.image_size)
        for key in self.key_iterator(result):
            image = result[key]
            array = np.asarray(image.cpu(), dtype=np.float32)
            resized = np.empty((len(array), *size, array.shape[3]), dtype=np.float32)
            for channel, depth in np.ndindex(len(array), array.shape[3]):
                resized[channel, :, :, depth] = resize_slice(array[channel, :, :, depth], size)
            result[key] = MetaTensor(torch.from_numpy(resized)).copy_meta_from(image)
            self.push_transform(result, key, orig_size=tuple(image.shape[1:]))
        return result

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Interpolate scores ``(C, image_size, image_size, D)`` to the slices' own size."""
        result = dict(data)
        for key in self.key_iterator(result):
            height, width = self.pop_transform(result, key)[TraceKeys.ORIG_SIZE][:2]
            scores = result[key]
            slices = resize_scores(scores.as_subclass(Tensor).movedim(-1, 0).float(), (int(height), int(width)))
            result[key] = MetaTensor(slices.movedim(0, -1).contiguous()).copy_meta_from(scores)
        return result
