"""Cross-level Feature Aggregation (CFA): two neighbouring levels of the encoder become one skip connection."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from condseg_monai.networks.blocks.convolution import conv_norm_act, upsample
from condseg_monai.networks.checkpointing import CheckpointedModule

__all__ = ["CrossLevelFeatureAggregation"]


class CrossLevelFeatureAggregation(CheckpointedModule):
    """Bring a level and the next deeper one to the same size and width, concatenate them, and weigh the channels.

    Source: DEC-Seg, "Cross-level Feature Aggregation". The weights of the channels come from their global means.
    """

    out_channels = 64

    def __init__(self, in_channels: int, deeper_channels: int) -> None:
        super().__init__()
        channels = self.out_channels
        self.reduce = conv_norm_act(in_channels, channels // 2, 1, bias=True)
        self.reduce_deeper = conv_norm_act(deeper_channels, channels // 2, 1, bias=True)
        self.join = conv_norm_act(channels, channels)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            conv_norm_act(channels, channels // 4, 1, bias=True),
            conv_norm_act(channels // 4, channels, 1, bias=True, act=None),
            nn.Sigmoid(),
        )
        self.output = conv_norm_act(channels, channels)

    def forward(self, x: Tensor, deeper: Tensor) -> Tensor:
        """Map ``(B, in_channels, H, W)`` and ``(B, deeper_channels, H / 2, W / 2)`` to ``(B, 64, H, W)``."""
        x = self.join(torch.cat([self.reduce(x), self.reduce_deeper(upsample(deeper, 2))], dim=1))
        return self.output(x + x * self.gate(x))
