"""Size-Aware Decoder (SA-Decoder): one per range of target sizes, each reading two neighbouring stages."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condseg_monai.networks.blocks.cbam import CBAM, ChannelAttention, SpatialAttention
from condseg_monai.networks.blocks.convolution import conv_norm_act, upsample
from condseg_monai.networks.checkpointing import CheckpointedModule

__all__ = ["SizeAwareDecoder"]


class SizeAwareDecoder(CheckpointedModule):
    """Merge a stage with the next deeper one through densely added residual convolutions and attention.

    Source: ConDSeg (AAAI 2025), "Size-Aware Decoder". With TeLU and ``cbat``, a CBAM at its end, it is Med-DisSeg's
    CBAT decoder. ``act`` is the activation of the first convolution and of that CBAM; the sums keep ReLU.
    """

    def __init__(self, channels: int, act: str = "relu", cbat: bool = False) -> None:
        super().__init__()
        self.merge = conv_norm_act(2 * channels, channels, 1, act=act)
        self.conv1 = conv_norm_act(channels, channels, act=None)
        self.conv2 = conv_norm_act(channels, channels, act=None)
        self.conv3 = conv_norm_act(channels, channels, 1, act=None)
        self.channel_attention = ChannelAttention(channels)
        self.spatial_attention = SpatialAttention()
        self.cbam = CBAM(channels, act=act) if cbat else nn.Identity()

    def forward(self, x: Tensor, deeper: Tensor) -> Tensor:
        """Map ``(B, channels, H, W)`` and the deeper ``(B, channels, H / 2, W / 2)`` to ``(B, channels, H, W)``."""
        s1 = self.merge(torch.cat([upsample(deeper, 2), x], dim=1))
        s2 = F.relu(self.conv1(s1) + s1, inplace=True)
        s3 = F.relu(self.conv2(s2) + s2 + s1, inplace=True)
        s4 = F.relu(self.conv3(s3) + s3 + s2 + s1, inplace=True)
        return self.cbam(self.spatial_attention(self.channel_attention(s4)))
