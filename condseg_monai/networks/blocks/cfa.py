"""Cross-level Feature Aggregation (CFA): two neighbouring levels of the encoder become one skip connection."""

from __future__ import annotations

import torch
from monai.networks.blocks import Convolution
from torch import Tensor, nn

from condseg_monai.networks.blocks.convolution import conv_norm_act, norm_act_arguments, upsample
from condseg_monai.networks.checkpointing import CheckpointedModule

__all__ = ["CrossLevelFeatureAggregation"]

_HALF = 32
_REDUCED = 16


class CrossLevelFeatureAggregation(CheckpointedModule):
    """Bring a level and the next deeper one to the same size and width, concatenate them, and weigh the channels.

    Source: DEC-Seg, "Cross-level Feature Aggregation". The weights of the channels come from their global means.

    Args:
        in_channels: channels of the level.
        deeper_channels: channels of the next deeper level, at half its size.
    """

    out_channels = 2 * _HALF

    def __init__(self, in_channels: int, deeper_channels: int) -> None:
        super().__init__()
        channels = self.out_channels
        self.reduce = _conv_with_bias(in_channels, _HALF, act="relu")
        self.reduce_deeper = _conv_with_bias(deeper_channels, _HALF, act="relu")
        self.join = conv_norm_act(channels, channels)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            _conv_with_bias(channels, _REDUCED, act="relu"),
            _conv_with_bias(_REDUCED, channels, act=None),
            nn.Sigmoid(),
        )
        self.output = conv_norm_act(channels, channels)

    def forward(self, x: Tensor, deeper: Tensor) -> Tensor:
        """Map ``(B, in_channels, H, W)`` and ``(B, deeper_channels, H / 2, W / 2)`` to ``(B, 64, H, W)``."""
        x = self.join(torch.cat([self.reduce(x), self.reduce_deeper(upsample(deeper, 2))], dim=1))
        return self.output(x + x * self.gate(x))


def _conv_with_bias(in_channels: int, out_channels: int, act: str | None) -> Convolution:
    return Convolution(
        in_channels=in_channels,
        out_channels=out_channels,
        kernel_size=1,
        **norm_act_arguments(act),
    )
