"""Channel attention, as in CBAM."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ChannelAttention"]


class ChannelAttention(nn.Module):
    """Weigh each channel by a shared two-layer perceptron of its average and its maximum.

    Source: CBAM (ECCV 2018), section 3, used inside ConDSeg's pre-enhancement and Size-Aware Decoder.

    Args:
        channels: channels of the input and output.
        reduction: the hidden layer has ``max(1, channels // reduction)`` channels.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.fc1 = nn.Conv2d(channels, hidden, kernel_size=1, bias=False)
        self.fc2 = nn.Conv2d(hidden, channels, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` ``(B, channels, H, W)``, each channel scaled by a weight in (0, 1)."""
        average = self.fc2(F.relu(self.fc1(F.adaptive_avg_pool2d(x, 1))))
        maximum = self.fc2(F.relu(self.fc1(F.adaptive_max_pool2d(x, 1))))
        return x * torch.sigmoid(average + maximum)
