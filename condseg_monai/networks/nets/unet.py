"""MONAI's UNet, the baseline of the comparisons."""

from __future__ import annotations

from monai.networks.nets import UNet

__all__ = ["baseline_unet"]


def baseline_unet(in_channels: int = 3, out_channels: int = 1, decoder_channels: int = 128) -> UNet:
    """MONAI's 2D residual UNet with five levels, whose widths double from ``decoder_channels`` on.

    The height and width of an image must be multiples of 16.

    Example:
        >>> baseline_unet(decoder_channels=4)(torch.rand(2, 3, 32, 48)).shape
        torch.Size([2, 1, 32, 48])
    """
    return UNet(
        spatial_dims=2,
        in_channels=in_channels,
        out_channels=out_channels,
        channels=[decoder_channels * 2**level for level in range(5)],
        strides=[2, 2, 2, 2],
        num_res_units=2,
        norm="batch",
    )
