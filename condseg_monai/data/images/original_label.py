"""The label as its file has it, beside the one that was resized for the network."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import ImageMetaKey

from condseg_monai.data.images.image_reader import read_natural_image

__all__ = ["OriginalLabeld"]


class OriginalLabeld(MapTransform):
    """Read a label again, from the file its metadata names, at its own size.

    Args:
        keys: the label, of any size, with metadata.
        output_key: the entry for the label of original size, ``(1, H, W)`` float32 zeros and ones, rows first.
        threshold: values above it, of [0, 255], are lesion, as for :class:`~condseg_monai.BinarizeLabeld`.

    Raises:
        ValueError: if the label has no metadata.
    """

    def __init__(self, keys: KeysCollection, output_key: str = "label_original", threshold: float = 127) -> None:
        super().__init__(keys)
        self.output_key = output_key
        self.threshold = threshold

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with the label added."""
        result = dict(data)
        for key in self.key_iterator(result):
            meta = getattr(result[key], "meta", None)
            if meta is None:
                raise ValueError(f"{key} has lost its metadata: keep track_meta on in the preprocessing")
            mask = read_natural_image(str(meta[ImageMetaKey.FILENAME_OR_OBJ]), "L") > self.threshold
            label = torch.from_numpy(mask[None].astype(np.float32))
            result[self.output_key] = label.to(result[key].device)
        return result
