"""Baseline of ConDSeg's ablation: the network without its modules."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from condseg_monai.networks.blocks.convolution import conv_norm_act, upsample
from condseg_monai.networks.blocks.pre_enhancement import PreEnhancement
from condseg_monai.networks.blocks.sa_decoder import SizeAwareDecoder
from condseg_monai.networks.checkpointing import CheckpointedSequential, set_checkpointing
from condseg_monai.networks.class_names import set_class_names
from condseg_monai.networks.encoders import Encoder, get_encoder
from condseg_monai.networks.feature_norm import set_norm
from condseg_monai.networks.nets.condseg import MaskHead
from condseg_monai.networks.nets.initialization import initialize_decoder, start_at_prior
from condseg_monai.networks.nets.padding import check_image, crop, pad_to_multiple

__all__ = ["ConDSegBaseline"]


class ConDSegBaseline(nn.Module):
    """ConDSeg without Semantic Information Decoupling, CDFA's attention, and two of its three decoders.

    Source: ConDSeg (AAAI 2025), Table 4, whose baseline has convolutions in CDFA's place and a single decoder. The
    paper does not say how it is built: here it is ``ConDSeg(decoders=1)`` without SID, auxiliary heads and attention;
    CDFA's four convolutions stay.

    Sizes, errors and arguments are as for :class:`~condseg_monai.ConDSeg`. It returns the mask's logits in
    either mode.

    Example:
        >>> ConDSegBaseline(encoder="resnet18", decoder_channels=16)(torch.rand(2, 3, 50, 70)).shape
        torch.Size([2, 1, 50, 70])
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 1,
        encoder: str | Encoder = "resnet50",
        decoder_channels: int = 128,
        dilation_scale: float = 1.0,
        class_names: Sequence[str] | None = None,
        norm: str = "batch",
        checkpointing: str = "none",
    ) -> None:
        super().__init__()
        if in_channels < 1 or out_channels < 1:
            raise ValueError(f"in_channels and out_channels must be positive, got {in_channels} and {out_channels}")
        if decoder_channels < 4 or decoder_channels % 4:
            raise ValueError(f"decoder_channels must be a positive multiple of 4, got {decoder_channels}")
        if not dilation_scale > 0:
            raise ValueError(f"dilation_scale must be positive, got {dilation_scale}")
        self.in_channels = in_channels
        self.encoder = get_encoder(encoder, in_channels)
        self.stride = self.encoder.strides[3]
        channels = decoder_channels
        self.pre_enhancements = nn.ModuleList(
            PreEnhancement(c, channels, dilation_scale=dilation_scale) for c in self.encoder.channels
        )
        widths = [(2 * channels if i < 3 else channels, *[channels] * 3) for i in range(4)]
        self.fusions = nn.ModuleList(CheckpointedSequential(*(conv_norm_act(c, channels) for c in w)) for w in widths)
        self.decoder = SizeAwareDecoder(channels)
        self.output = MaskHead(channels, out_channels, self.encoder.strides[0], decoders=1)
        initialize_decoder(self)
        start_at_prior(self.output.logits)
        set_class_names(self, class_names, out_channels)
        set_norm(self, norm)
        set_checkpointing(self, checkpointing)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(B, in_channels, H, W)`` to mask logits ``(B, out_channels, H, W)``."""
        if not torch.jit.is_tracing():
            check_image(x, self.in_channels)
        maps = self.encoder(pad_to_multiple(x, self.stride))
        # Indices, not a loop from the deepest: TorchScript calls the members of a list by constant index only.
        f4 = self.fusions[3](self.pre_enhancements[3](maps[3]))
        f3 = self.fusions[2](torch.cat([self.pre_enhancements[2](maps[2]), upsample(f4, 2)], dim=1))
        f2 = self.fusions[1](torch.cat([self.pre_enhancements[1](maps[1]), upsample(f3, 2)], dim=1))
        f1 = self.fusions[0](torch.cat([self.pre_enhancements[0](maps[0]), upsample(f2, 2)], dim=1))
        return crop(self.output([self.decoder(f1, f2)]), x)
