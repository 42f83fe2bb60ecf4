"""The two pieces every ConDSeg block is made of: convolution with BatchNorm, and bilinear upsampling."""

from __future__ import annotations

import torch.nn.functional as F
from monai.networks.blocks import Convolution
from torch import Tensor

__all__ = ["conv_norm_act", "upsample"]


def conv_norm_act(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 3,
    *,
    dilation: int = 1,
    bias: bool = False,
    act: str | None = "relu",
) -> Convolution:
    """A convolution, BatchNorm and an activation ("CBR"), keeping the spatial size.

    ``kernel_size`` is odd; ``act`` a name from MONAI's ``Act`` factory, ``"telu"`` among them, or None for none.
    """
    return Convolution(
        spatial_dims=2,
        in_channels=in_channels,
        out_channels=out_channels,
        kernel_size=kernel_size,
        dilation=dilation,
        bias=bias,
        adn_ordering="NA",
        norm="batch",
        # In place: a BatchNorm needs its output no more, in training either.
        act=("relu", {"inplace": True}) if act == "relu" else act,
    )


def upsample(x: Tensor, factor: int) -> Tensor:
    """Upsample ``(B, C, H, W)`` bilinearly with aligned corners to ``(B, C, factor * H, factor * W)``."""
    if factor == 1:
        return x
    return F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=True)
