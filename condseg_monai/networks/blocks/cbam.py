"""Convolutional Block Attention Module (CBAM): channel attention and spatial attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.networks.layers.utils import get_act_layer
from torch import Tensor, nn

__all__ = ["CBAM", "ChannelAttention", "SpatialAttention"]


class ChannelAttention(nn.Module):
    """Weigh each channel by a shared two-layer perceptron of its average and its maximum.

    Source: CBAM (ECCV 2018), section 3; in ConDSeg's pre-enhancement and Size-Aware Decoder. The hidden layer has
    ``max(1, channels // reduction)`` channels and the activation ``act``, a name from MONAI's ``Act`` factory.
    """

    def __init__(self, channels: int, reduction: int = 16, act: str = "relu", bias: bool = False) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.fc1 = nn.Conv2d(channels, hidden, kernel_size=1, bias=bias)
        self.fc2 = nn.Conv2d(hidden, channels, kernel_size=1, bias=bias)
        self.act = get_act_layer(act)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` ``(B, channels, H, W)``, each channel scaled by a weight in (0, 1)."""
        average = self.fc2(self.act(self.fc1(F.adaptive_avg_pool2d(x, 1))))
        maximum = self.fc2(self.act(self.fc1(F.adaptive_max_pool2d(x, 1))))
        return x * torch.sigmoid(average + maximum)


class SpatialAttention(nn.Module):
    """Weigh each position by a 7x7 convolution of the mean and the maximum over channels.

    Source: CBAM (ECCV 2018), section 3; in ConDSeg's pre-enhancement and Size-Aware Decoder.
    """

    def __init__(self, bias: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size=7, padding=3, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` ``(B, C, H, W)``, each position scaled by a weight in (0, 1)."""
        summary = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.conv(summary))


class CBAM(nn.Module):
    """Channel attention, then spatial attention, both with biases: the last step of Med-DisSeg's CBAT decoders.

    Source: CBAM (ECCV 2018), section 3. Arguments as for :class:`ChannelAttention`.
    """

    def __init__(self, channels: int, reduction: int = 16, act: str = "relu") -> None:
        super().__init__()
        self.channel_attention = ChannelAttention(channels, reduction, act, bias=True)
        self.spatial_attention = SpatialAttention(bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` ``(B, channels, H, W)``, each channel and position scaled by a weight in (0, 1)."""
        return self.spatial_attention(self.channel_attention(x))
