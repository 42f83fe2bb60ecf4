"""Dual-scale Complementary Fusion (DCF): what two decoders know of one level, at two scales, in one map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from condseg_monai.networks.blocks.convolution import conv_norm_act
from condseg_monai.networks.checkpointing import CheckpointedModule
from condseg_monai.networks.ops.softmax import float32_softmax

__all__ = ["DualScaleComplementaryFusion"]


class DualScaleComplementaryFusion(CheckpointedModule):
    """Let the maps of the full scale and of the down scale complete each other, and weigh the two per pixel.

    Source: DEC-Seg, "Dual-scale Complementary Fusion". Each map gets what the other one is sure of:
    ``full + sigmoid(down) * down`` and ``down + sigmoid(full) * full``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.full1 = conv_norm_act(channels, channels)
        self.down1 = conv_norm_act(channels, channels)
        self.full2 = conv_norm_act(channels, channels)
        self.down2 = conv_norm_act(channels, channels)
        self.gate = conv_norm_act(2 * channels, 2, 1)

    def forward(self, full: Tensor, down: Tensor) -> Tensor:
        """Map ``(B, channels, H, W)`` and the smaller ``(B, channels, h, w)`` to ``(B, channels, H, W)``."""
        down = F.interpolate(down, size=[full.shape[2], full.shape[3]], mode="bilinear", align_corners=True)
        full, down = self.full1(full), self.down1(down)
        completed = self.full2(full + torch.sigmoid(down) * down)
        completed_down = self.down2(down + torch.sigmoid(full) * full)
        weights = float32_softmax(self.gate(torch.cat([completed, completed_down], dim=1)), dim=1).to(completed.dtype)
        return weights[:, :1] * completed + weights[:, 1:] * completed_down
