"""Spatial attention, as in CBAM."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["SpatialAttention"]


class SpatialAttention(nn.Module):
    """Weigh each position by a 7x7 convolution of the mean and the maximum over channels.

    Source: CBAM (ECCV 2018), section 3, used inside ConDSeg's pre-enhancement and Size-Aware Decoder, and in
    Med-DisSeg's :class:`~condseg_monai.networks.blocks.CBAM`.

    Args:
        bias: whether the convolution has one.
    """

    def __init__(self, bias: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size=7, padding=3, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` ``(B, C, H, W)``, each position scaled by a weight in (0, 1)."""
        summary = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.conv(summary))
