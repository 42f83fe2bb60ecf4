"""Convolutional Block Attention Module (CBAM), the last step of Med-DisSeg's CBAT decoders."""

from __future__ import annotations

from torch import Tensor, nn

from condseg_monai.networks.blocks.channel_attention import ChannelAttention
from condseg_monai.networks.blocks.spatial_attention import SpatialAttention

__all__ = ["CBAM"]


class CBAM(nn.Module):
    """Channel attention, then spatial attention, both with biases.

    Source: CBAM (ECCV 2018), section 3. Med-DisSeg's CBAT decoder is
    :class:`~condseg_monai.networks.blocks.SizeAwareDecoder` with this, and TeLU in it, at its end.

    Args:
        channels: channels of the input and output.
        reduction: the hidden layer of the channel attention has ``max(1, channels // reduction)`` channels.
        act: activation of that layer, a name from MONAI's ``Act`` factory.
    """

    def __init__(self, channels: int, reduction: int = 16, act: str = "relu") -> None:
        super().__init__()
        self.channel_attention = ChannelAttention(channels, reduction, act, bias=True)
        self.spatial_attention = SpatialAttention(bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` ``(B, channels, H, W)``, each channel and position scaled by a weight in (0, 1)."""
        return self.spatial_attention(self.channel_attention(x))
