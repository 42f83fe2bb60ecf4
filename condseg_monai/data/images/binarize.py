"""Binarise masks as files have them, with JPEG noise or instance numbers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from torch import Tensor

__all__ = ["BinarizeLabeld"]


class BinarizeLabeld(MapTransform):
    """Set label values in [0, 255] above a threshold to 1 and the others to 0, before any resizing.

    ``threshold``, in [0, 255), is 127 for masks of 0 and 255, and 0 for masks of 0 and 1 and for instance numbers.

    Example:
        >>> BinarizeLabeld("label")({"label": torch.tensor([0.0, 7.0, 127.0, 128.0, 255.0])})["label"]
        tensor([0., 0., 0., 1., 1.])
    """

    def __init__(self, keys: KeysCollection, threshold: float = 127, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        if not 0 <= threshold < 255:
            raise ValueError(f"threshold must be in [0, 255), got {threshold}")
        self.threshold = threshold

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        """Return a copy of ``data`` with the entries as zeros and ones."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = (result[key] > self.threshold).to(torch.float32)
        return result
