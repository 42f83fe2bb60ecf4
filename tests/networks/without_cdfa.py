"""ConDSegs whose export takes seconds: CDFAs are three quarters of that work, and all of them are alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from condseg_monai import ConDSeg
from condseg_monai.networks.blocks.convolution import upsample


class _Projection(nn.Module):
    """Takes and gives what a CDFA does."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel_size=1)

    def forward(self, x: Tensor, foreground: Tensor, background: Tensor, deeper: Tensor | None = None) -> Tensor:
        if deeper is not None:
            x = torch.cat([x, upsample(deeper, 2)], dim=1)
        return self.conv(x) + foreground - background


def without_cdfa(network: ConDSeg, decoder_channels: int, keep: Sequence[int] = ()) -> ConDSeg:
    """Make the CDFAs convolutions of the same inputs and output, in place, but those of the indices to keep."""
    for i in range(4):
        if i not in keep:
            network.cdfas[i] = _Projection(decoder_channels * (1 if i == 3 else 2), decoder_channels)
    return network
