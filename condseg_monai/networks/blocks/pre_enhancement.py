"""Feature pre-enhancement: dilated branches with attention, before Contrast-Driven Feature Aggregation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condseg_monai.networks.blocks.cbam import ChannelAttention, SpatialAttention
from condseg_monai.networks.blocks.convolution import conv_norm_act
from condseg_monai.networks.checkpointing import CheckpointedModule

__all__ = ["PreEnhancement"]


class PreEnhancement(CheckpointedModule):
    """Gather context at four dilations, each under channel attention, on top of a 1x1 shortcut.

    Source: ConDSeg (AAAI 2025), "Contrast-Driven Feature Aggregation": the dilated convolution layer ahead of CDFA. The
    paper says no more than that; branches, attention and shortcut are those of the released code. ``act`` is the
    activation of the branches; the attention and the sum keep ReLU. The dilations are the released ones, 1, 6, 12 and
    18, times ``dilation_scale``, rounded to at least 1: images smaller than the 256 pixels they are for have smaller
    maps, in which they would reach nothing but padding. With a scale of image size / 256 the largest
    still does on the map of stride 16, as in the paper's network.
    """

    def __init__(self, in_channels: int, channels: int, act: str = "relu", dilation_scale: float = 1.0) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                conv_norm_act(
                    in_channels, channels, kernel_size, dilation=max(1, round(dilation * dilation_scale)), act=act
                ),
                ChannelAttention(channels),
            )
            for kernel_size, dilation in ((1, 1), (3, 6), (3, 12), (3, 18))
        )
        self.fuse = conv_norm_act(4 * channels, channels, act=None)
        self.shortcut = conv_norm_act(in_channels, channels, 1, act=None)
        self.spatial_attention = SpatialAttention()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, channels, H, W)``, non-negative."""
        context = self.fuse(torch.cat([branch(x) for branch in self.branches], dim=1))
        return self.spatial_attention(F.relu(context + self.shortcut(x), inplace=True))
