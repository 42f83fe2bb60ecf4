"""The two pieces every ConDSeg block is made of: convolution with BatchNorm, and bilinear upsampling."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from monai.networks.blocks import Convolution
from torch import Tensor

__all__ = ["conv_norm_act", "norm_act_arguments", "upsample"]


def conv_norm_act(
    in_channels: int, out_channels: int, kernel_size: int = 3, *, dilation: int = 1, act: str | None = "relu"
) -> Convolution:
    """A convolution without bias, BatchNorm and an activation ("CBR"), keeping the spatial size.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: odd kernel size.
        dilation: dilation of the kernel.
        act: a name from MONAI's ``Act`` factory, or None for no activation. ``"telu"`` is one of ours.
    """
    return Convolution(
        in_channels=in_channels,
        out_channels=out_channels,
        kernel_size=kernel_size,
        dilation=dilation,
        bias=False,
        **norm_act_arguments(act),
    )


def norm_act_arguments(act: str | None) -> dict[str, Any]:
    """What every two-dimensional ``Convolution`` with BatchNorm and the activation ``act`` is given."""
    return {
        "spatial_dims": 2,
        "adn_ordering": "NA",
        "norm": "batch",
        # In place: a BatchNorm needs its output no more, in training either.
        "act": ("relu", {"inplace": True}) if act == "relu" else act,
    }


def upsample(x: Tensor, factor: int) -> Tensor:
    """Upsample ``(B, C, H, W)`` bilinearly with aligned corners to ``(B, C, factor * H, factor * W)``."""
    if factor == 1:
        return x
    return F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=True)
