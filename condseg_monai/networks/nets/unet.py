"""Baselines of the comparisons: MONAI's UNet, U-Net++ and Attention U-Net, and UNet's decoder on an encoder of ours."""

from __future__ import annotations

import torch
from monai.networks.nets import AttentionUnet, BasicUNetPlusPlus, UNet
from monai.networks.nets.flexible_unet import SegmentationHead, UNetDecoder
from torch import Tensor, nn

from condseg_monai.networks.encoders import Encoder, get_encoder
from condseg_monai.networks.feature_norm import set_norm
from condseg_monai.networks.nets.padding import check_image, crop, pad_to_multiple

__all__ = ["FlexibleUNet", "UNetPlusPlus", "attention_unet", "baseline_unet"]


def baseline_unet(
    in_channels: int = 3,
    out_channels: int = 1,
    decoder_channels: int = 128,
    norm: str = "batch",
    checkpointing: str = "none",
) -> UNet:
    """MONAI's 2D residual UNet with five levels, whose widths double from ``decoder_channels`` on.

    The height and width of an image must be multiples of 16; ``norm`` is as of :class:`~condseg_monai.ConDSeg`.

    Raises:
        ValueError: if ``checkpointing`` is not ``"none"``: MONAI's UNet has no activation checkpointing.

    Example:
        >>> baseline_unet(decoder_channels=4)(torch.rand(2, 3, 32, 48)).shape
        torch.Size([2, 1, 32, 48])
    """
    _refuse_checkpointing(checkpointing)
    network = UNet(
        spatial_dims=2,
        in_channels=in_channels,
        out_channels=out_channels,
        channels=[decoder_channels * 2**level for level in range(5)],
        strides=[2, 2, 2, 2],
        num_res_units=2,
        norm="batch",
    )
    set_norm(network, norm)
    return network


def attention_unet(
    in_channels: int = 3,
    out_channels: int = 1,
    decoder_channels: int = 64,
    norm: str = "batch",
    checkpointing: str = "none",
) -> AttentionUnet:
    """MONAI's 2D Attention U-Net; arguments, sizes and errors are as for :func:`baseline_unet`.

    Example:
        >>> attention_unet(decoder_channels=4)(torch.rand(2, 3, 32, 48)).shape
        torch.Size([2, 1, 32, 48])
    """
    _refuse_checkpointing(checkpointing)
    channels = [decoder_channels * 2**level for level in range(5)]
    network = AttentionUnet(2, in_channels, out_channels, channels, strides=[2, 2, 2, 2])
    set_norm(network, norm)
    return network


class UNetPlusPlus(nn.Module):
    """MONAI's 2D U-Net++, without deep supervision; arguments, sizes and errors are as for :func:`baseline_unet`.

    Example:
        >>> UNetPlusPlus(decoder_channels=4)(torch.rand(2, 3, 32, 48)).shape
        torch.Size([2, 1, 32, 48])
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 1,
        decoder_channels: int = 32,
        norm: str = "batch",
        checkpointing: str = "none",
    ) -> None:
        _refuse_checkpointing(checkpointing)
        super().__init__()
        widths = [decoder_channels * 2**level for level in range(5)]
        self.unet = BasicUNetPlusPlus(2, in_channels, out_channels, [*widths, decoder_channels], norm="batch")
        set_norm(self, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(B, in_channels, H, W)`` to mask logits ``(B, out_channels, H, W)``."""
        return self.unet(x)[0]


class FlexibleUNet(nn.Module):
    """UNet's decoder on any encoder of this package: MONAI's ``FlexibleUNet`` for :class:`Encoder`.

    The baseline that tells what ConDSeg's own modules are worth: the same encoder, the same weights to start from, and
    skip connections, convolutions and upsampling behind it. Sizes and errors are as for
    :class:`~condseg_monai.ConDSeg`.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the mask.
        encoder: as of :class:`~condseg_monai.ConDSeg`.
        decoder_channels: width at a quarter of the size; twice and four times of it deeper, half of it finer.
        norm: as of :class:`~condseg_monai.ConDSeg`.

    Example:
        >>> FlexibleUNet(encoder="efficientnet_lite0", decoder_channels=8).eval()(torch.rand(2, 3, 50, 70)).shape
        torch.Size([2, 1, 50, 70])
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 1,
        encoder: str | Encoder = "resnet50",
        decoder_channels: int = 32,
        norm: str = "batch",
        checkpointing: str = "none",
    ) -> None:
        super().__init__()
        _refuse_checkpointing(checkpointing)
        if in_channels < 1 or out_channels < 1:
            raise ValueError(f"in_channels and out_channels must be positive, got {in_channels} and {out_channels}")
        if decoder_channels < 2 or decoder_channels % 2:
            raise ValueError(f"decoder_channels must be a positive multiple of 2, got {decoder_channels}")
        self.in_channels = in_channels
        self.encoder = get_encoder(encoder, in_channels)
        self.stride = self.encoder.strides[3]
        widths = (4 * decoder_channels, 2 * decoder_channels, decoder_channels, decoder_channels // 2)
        self.decoder = UNetDecoder(
            spatial_dims=2,
            encoder_channels=(in_channels, *self.encoder.channels),
            decoder_channels=widths,
            act=("relu", {"inplace": True}),
            norm="batch",
            dropout=0.0,
            bias=False,
            upsample="nontrainable",
            pre_conv="default",
            interp_mode="bilinear",
            align_corners=None,
            is_pad=False,
        )
        self.head = SegmentationHead(2, widths[-1], out_channels, scale_factor=self.encoder.strides[0] / 2)
        set_norm(self, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(B, in_channels, H, W)`` to mask logits ``(B, out_channels, H, W)``."""
        if not torch.jit.is_tracing():
            check_image(x, self.in_channels)
        maps = self.encoder(pad_to_multiple(x, self.stride))
        return crop(self.head(self.decoder(maps, len(maps) - 1)), x)


def _refuse_checkpointing(checkpointing: str) -> None:
    if checkpointing != "none":
        raise ValueError(
            f"checkpointing of MONAI's UNets must be none, got {checkpointing!r}: they keep all activations"
        )
