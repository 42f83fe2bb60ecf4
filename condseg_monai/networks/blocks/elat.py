"""ELAT, the attention of Med-DisSeg's first stage: which channels, and where at three ranges."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.networks.layers.utils import get_act_layer
from torch import Tensor, nn

__all__ = ["ELAT"]


class ELAT(nn.Module):
    """Weigh each channel by a perceptron of its average, and each position by convolutions of three dilations.

    Source: Med-DisSeg, "ELAT"; both weights are computed from the input, neither from the other's result. The hidden
    layer of the channel gate has ``max(1, channels // reduction)`` channels.
    """

    def __init__(self, channels: int, reduction: int = 8, act: str = "telu") -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.fc1 = nn.Conv2d(channels, hidden, kernel_size=1, bias=False)
        self.fc2 = nn.Conv2d(hidden, channels, kernel_size=1, bias=False)
        self.act = get_act_layer(act)
        self.ranges = nn.ModuleList(
            nn.Conv2d(channels, 1, kernel_size=3, padding=dilation, dilation=dilation) for dilation in (1, 2, 3)
        )
        self.fuse = nn.Conv2d(3, 1, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` ``(B, channels, H, W)``, each channel and position scaled by a weight in (0, 1)."""
        channel = torch.sigmoid(self.fc2(self.act(self.fc1(F.adaptive_avg_pool2d(x, 1)))))
        spatial = torch.sigmoid(self.fuse(torch.cat([conv(x) for conv in self.ranges], dim=1)))
        return x * channel * spatial
