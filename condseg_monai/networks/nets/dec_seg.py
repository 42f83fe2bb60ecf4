"""DEC-Seg: one encoder at two scales, a decoder for each, and a third one on their fused maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condseg_monai.networks.blocks.cfa import CrossLevelFeatureAggregation
from condseg_monai.networks.blocks.dcf import DualScaleComplementaryFusion
from condseg_monai.networks.blocks.scale_decoder import ScaleDecoder
from condseg_monai.networks.checkpointing import set_checkpointing
from condseg_monai.networks.class_names import set_class_names
from condseg_monai.networks.encoders import Encoder, Res2NetEncoder, get_encoder
from condseg_monai.networks.feature_norm import set_norm
from condseg_monai.networks.nets.initialization import initialize_decoder
from condseg_monai.networks.nets.padding import check_image, crop, pad_to_multiple

__all__ = ["DECSeg", "DECSegOutput"]


class DECSegOutput(NamedTuple):
    """Logits ``(B, out_channels, H, W)`` of the same mask, three times."""

    full_scale: Tensor | None  # of the image's own scale; None without DCF, where ``mask`` is that
    down_scale: Tensor | None  # of the down-scaled copy; None in a network of one scale
    mask: Tensor  # the prediction: DCF's if there is one


class DECSeg(nn.Module):
    """DEC-Seg: dual-scale segmentation, made to be trained with few labels.

    Source: T. Zhou et al., "DEC-Seg: Dual-scale Enhanced and Cross-generative Consistency Learning for Semi-supervised
    Medical Image Segmentation".

    The network makes the down-scaled copy itself, of the size that :func:`down_scale_size` gives. In training mode it
    returns :class:`DECSegOutput`, all at the size of the image, the down scale's logits upsampled; a batch needs two
    images. In evaluation mode it returns the mask logits and computes nothing they do not need. Sizes and the arguments
    not listed are as for :class:`~condseg_monai.ConDSeg`.

    Args:
        out_channels: channels of the mask: 1 for a binary mask (sigmoid), the number of classes otherwise (softmax).
            The released networks have 2.
        encoder: ``"res2net50_v1b"``, with its five stages, or any other encoder of
            :data:`~condseg_monai.networks.encoders.ENCODERS` or :class:`Encoder` of your own, with its four. The
            decoders are as wide as the encoder, stage by stage.
        cfa: aggregate neighbouring levels for the skip connections; else they are the encoder's maps.
        down_scale: decode the down-scaled copy too.
        dcf: fuse the two scales' maps and decode them; else the mask is the full scale's.

    Raises:
        ValueError: if an argument is out of range, or ``dcf`` is asked for without ``down_scale``.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 1,
        encoder: str | Encoder = "res2net50_v1b",
        cfa: bool = True,
        down_scale: bool = True,
        dcf: bool = True,
        class_names: Sequence[str] | None = None,
        norm: str = "batch",
        checkpointing: str = "none",
    ) -> None:
        super().__init__()
        if in_channels < 1 or out_channels < 1:
            raise ValueError(f"in_channels and out_channels must be positive, got {in_channels} and {out_channels}")
        if dcf and not down_scale:
            raise ValueError("dcf fuses two scales: it needs down_scale")
        self.in_channels = in_channels
        if encoder == "res2net50_v1b":
            encoder = Res2NetEncoder(in_channels, last_stage=True)
        self.encoder = get_encoder(encoder, in_channels)
        channels = list(self.encoder.channels)
        finest, self.stride = self.encoder.strides[0], self.encoder.strides[-1]
        self.aggregate, self.down_scale, self.dcf = cfa, down_scale, dcf

        # Lists run fine to coarse, as the encoder's maps do.
        self.cfas = nn.ModuleList(
            CrossLevelFeatureAggregation(channels[i], channels[i + 1]) for i in range(len(channels) - 1) if cfa
        )
        skips = [CrossLevelFeatureAggregation.out_channels] * (len(channels) - 1) if cfa else channels[:-1]
        self.full_decoder = ScaleDecoder(channels, skips, out_channels, finest)
        self.down_decoder = ScaleDecoder(channels, skips, out_channels, finest) if down_scale else None
        self.dcfs = nn.ModuleList(DualScaleComplementaryFusion(c) for c in channels if dcf)
        self.fused_decoder = ScaleDecoder(channels, channels[:-1], out_channels, finest, deepest=True) if dcf else None
        initialize_decoder(self)
        set_class_names(self, class_names, out_channels)
        set_norm(self, norm)
        set_checkpointing(self, checkpointing)

    def forward(self, x: Tensor) -> Tensor:
        """Segment images ``(B, in_channels, H, W)``; ValueError for other shapes, or a training batch of one image."""
        if not torch.jit.is_tracing():
            check_image(x, self.in_channels)
        if not torch.jit.is_scripting() and self.training:
            # TorchScript wants one return type, that of evaluation; a scripted network cannot be trained.
            return cast(Tensor, self._forward_training(x))
        image = pad_to_multiple(x, self.stride)
        down = self._shrink(image) if self.dcf else image
        _, _, mask = self._decode(image, down, self.dcf)
        return crop(mask, x)

    @torch.jit.unused
    def forward_scales(self, image: Tensor, image_down: Tensor) -> DECSegOutput:
        """The logits of an image and of a down-scaled copy made elsewhere, each at its own size, in either mode."""
        for x in (image, image_down):
            check_image(x, self.in_channels)
        padded, padded_down = pad_to_multiple(image, self.stride), pad_to_multiple(image_down, self.stride)
        full, down, mask = self._decode(padded, padded_down, self.down_scale)
        return DECSegOutput(
            crop(full, image) if self.dcf else None,
            crop(down, image_down) if self.down_scale else None,
            crop(mask, image),
        )

    def _forward_training(self, x: Tensor) -> DECSegOutput:
        if x.shape[0] < 2:
            raise ValueError("training needs at least 2 images a batch: BatchNorm follows a global mean in CFA")
        image = pad_to_multiple(x, self.stride)
        down_image = self._shrink(image) if self.down_scale else image
        full, down, mask = self._decode(image, down_image, self.down_scale)
        size = image.shape[2:]
        upsampled = F.interpolate(down, size=size, mode="bilinear", align_corners=False) if self.down_scale else None
        return DECSegOutput(
            crop(full, x) if self.dcf else None,
            None if upsampled is None else crop(upsampled, x),
            crop(mask, x),
        )

    def _decode(self, image: Tensor, image_down: Tensor, down_scale: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the full scale, of the down scale and of the mask; one that is not computed repeats another."""
        deepest, skips = self._encode(image)
        full, full_maps = self.full_decoder(deepest, skips)
        if self.down_decoder is None or not down_scale:
            return full, full, full
        deepest, skips = self._encode(image_down)
        down, down_maps = self.down_decoder(deepest, skips)
        if self.fused_decoder is None:
            return full, down, full
        fused: list[Tensor] = []
        for i, dcf in enumerate(self.dcfs):
            fused.append(dcf(full_maps[i], down_maps[i]))
        mask, _ = self.fused_decoder(fused[-1], fused[:-1])
        return full, down, mask

    def _encode(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The deepest map and the skip connections, fine to coarse."""
        maps: list[Tensor] = self.encoder(image)
        skips = maps[:-1]
        if self.aggregate:
            skips = []
            for i, cfa in enumerate(self.cfas):
                skips.append(cfa(maps[i], maps[i + 1]))
        return maps[-1], skips

    def _shrink(self, image: Tensor) -> Tensor:
        size = [down_scale_size(image.shape[2], self.stride), down_scale_size(image.shape[3], self.stride)]
        return F.interpolate(image, size=size, mode="bilinear", align_corners=False)


def down_scale_size(size: int, stride: int) -> int:
    """Half of ``size``, a multiple of ``stride``, rounded to such a multiple, halves upwards: at least ``stride``.

    The released code rounds halves to the even multiple (160 to 64, not 96), which no export can follow.
    """
    return (size // stride + 1) // 2 * stride
