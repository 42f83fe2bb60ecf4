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

__all__ = ["ResizeSlices", "ResizeSlicesd"]


class ResizeSlices(InvertibleTransform):
    """Resize each slice ``(H, W)`` of a volume ``(C, H, W, D)`` to a square, by cubic splines as TransUNet does.

    The inverse, of scores, is bilinear on the same grid; see :mod:`condseg_monai.data.ct.slice_resize`. The affine
    stays that of the whole volume.

    Args:
        image_size: side of the square in pixels.

    Raises:
        ValueError: if ``image_size`` is not positive.
    """

    def __init__(self, image_size: int) -> None:
        if image_size < 1:
            raise ValueError(f"image_size must be positive, got {image_size}")
        self.image_size = image_size

    def __call__(self, image: Tensor) -> Tensor:
        """Resize ``(C, H, W, D)`` to ``(C, image_size, image_size, D)``, ``float32``."""
        array, size = np.asarray(image.cpu(), dtype=np.float32), (self.image_size, self.image_size)
        resized = np.empty((len(array), *size, array.shape[3]), dtype=np.float32)
        for channel, depth in np.ndindex(len(array), array.shape[3]):
            resized[channel, :, :, depth] = resize_slice(array[channel, :, :, depth], size)
        result = MetaTensor(torch.from_numpy(resized))
        if isinstance(image, MetaTensor):
            result.copy_meta_from(image)
        return self.push_transform(result, orig_size=tuple(image.shape[1:]))

    def inverse(self, data: Tensor) -> Tensor:
        """Interpolate scores ``(C, image_size, image_size, D)`` to the slices' own size."""
        height, width = self.pop_transform(data)[TraceKeys.ORIG_SIZE][:2]
        slices = resize_scores(data.as_subclass(Tensor).movedim(-1, 0).float(), (int(height), int(width)))
        result = MetaTensor(slices.movedim(0, -1).contiguous())
        return result.copy_meta_from(data) if isinstance(data, MetaTensor) else result


class ResizeSlicesd(MapTransform, InvertibleTransform):
    """:class:`ResizeSlices` on entries of a dictionary."""

    def __init__(self, keys: KeysCollection, image_size: int, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.resize = ResizeSlices(image_size)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resize the entries."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.resize(result[key])
        return result

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Bring entries, scores of the network, back to the slices' own size."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.resize.inverse(result[key])
        return result
