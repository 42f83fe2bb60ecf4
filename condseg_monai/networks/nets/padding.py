"""Any input size: pad to the encoder's stride on the way in, crop on the way out."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["check_image", "crop", "pad_to_multiple"]


def check_image(x: Tensor, in_channels: int) -> None:
    """Raise ValueError unless ``x`` is ``(B, in_channels, H, W)`` with H and W of at least 16."""
    if x.ndim != 4 or x.shape[1] != in_channels or x.shape[2] < 16 or x.shape[3] < 16:
        raise ValueError(f"image must be (B, {in_channels}, H, W) with H and W >= 16, got {list(x.shape)}")


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column of ``(B, C, H, W)`` until H and W are multiples of ``multiple``."""
    # No branch on the size: an exported network must serve other sizes than its example's.
    h, w = x.shape[2], x.shape[3]
    height, width = (h + multiple - 1) // multiple * multiple, (w + multiple - 1) // multiple * multiple
    return F.pad(x, [0, width - w, 0, height - h], mode="replicate")


def crop(x: Tensor, like: Tensor) -> Tensor:
    """Cut ``(B, C, H', W')`` down to the height and width of ``like``, from the top left."""
    # Padding by a negative amount: torch.export cannot prove that a slice of the padded map is within it.
    return F.pad(x, [0, like.shape[3] - x.shape[3], 0, like.shape[2] - x.shape[2]])
