"""Mild colour augmentation of single images."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from torch import Tensor

__all__ = ["RandColorJitterd"]


class RandColorJitterd(Randomizable, MapTransform):
    """Change brightness, contrast, saturation and hue of an image a little.

    Brightness, contrast and saturation are multiplied by factors from ``[1 - strength, 1 + strength]``; the hue turns
    by up to a tenth of ``strength`` of the colour circle. Of one grey channel, brightness and contrast. All entries
    under ``keys`` are changed alike.

    Args:
        keys: of images ``(3, H, W)``, RGB, or ``(1, H, W)`` in [0, 1].
        strength: in [0, 1].
        allow_missing_keys: whether a key may be missing.

    Raises:
        ValueError: if ``strength`` is out of range.
    """

    def __init__(self, keys: KeysCollection, strength: float = 0.2, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        if not 0 <= strength <= 1:
            raise ValueError(f"color_jitter must be in [0, 1], got {strength}")
        self.strength = strength
        self.factors = (1.0, 1.0, 1.0)
        self.turn = 0.0

    def randomize(self, data: object = None) -> None:
        """Draw the three factors and the turn of the hue."""
        low, high = 1 - self.strength, 1 + self.strength
        self.factors = (self.R.uniform(low, high), self.R.uniform(low, high), self.R.uniform(low, high))
        self.turn = self.R.uniform(-0.1, 0.1) * self.strength

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        """Return a copy of ``data`` with the images changed, still in [0, 1]."""
        # Not at the top: it takes 20 MB, and inference needs none of it.
        from kornia.enhance import (
            adjust_brightness_accumulative,
            adjust_contrast_with_mean_subtraction,
            adjust_hue,
            adjust_saturation_with_gray_subtraction,
        )

        self.randomize()
        brightness, contrast, saturation = self.factors
        result = dict(data)
        for key in self.key_iterator(result):
            image = torch.as_tensor(result[key]).as_subclass(Tensor)
            image = adjust_brightness_accumulative(image, brightness)
            image = adjust_contrast_with_mean_subtraction(image, contrast)
            if len(image) == 3:
                image = adjust_saturation_with_gray_subtraction(image, saturation)
                image = adjust_hue(image, 2 * math.pi * self.turn)
            changed = result[key].clone()
            changed[...] = image.clamp(0, 1)
            result[key] = changed
        return result
