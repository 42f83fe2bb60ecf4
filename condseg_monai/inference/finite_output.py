"""Check that a network's output is finite: a comparison with NaN is false, so that a mask would be background."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import MapTransform
from torch import Tensor

__all__ = ["CheckFinited"]


def check_finite(logits: Tensor) -> None:
    """Raise a ValueError if there is a NaN or an infinity in logits of any shape."""
    if not bool(torch.isfinite(logits).all()):
        raise ValueError(
            "the network's output is not finite: its weights are damaged, or too large for the precision (float32 has "
            "the widest range)"
        )


class CheckFinited(MapTransform):
    """Transform that refuses predictions with NaN or infinity by a ValueError, and changes nothing.

    ``keys`` are those of logits of any shape.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` as it is."""
        for key in self.key_iterator(dict(data)):
            check_finite(data[key])
        return dict(data)
