"""Channel attention, as in CBAM."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.networks.layers.utils import get_act_layer
from torch import Tensor, nn

__all__ = ["ChannelAttention"]


class ChannelAttention(nn.Module):
    """Weigh each channel by a shared two-layer perceptron of its average and its maximum.

    Source: CBAM (ECCV 2018), section 3, used inside ConDSeg's pre-enhancement and Size-Aware Decoder, and in
    Med-DisSeg's :class:`~condseg_monai.networks.blocks.CBAM`.

    Args:
        channels: channels of the input and output.
        reduction: the hidden layer has ``max(1, channels // reduction)`` channels.
        act: activation of the hidden layer, a name from MONAI's ``Act`` factory.
        bias: whether both layers have one.
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
