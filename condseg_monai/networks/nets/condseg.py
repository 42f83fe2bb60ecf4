"""ConDSeg: the second-stage network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from condseg_monai.networks.blocks.auxiliary_head import AuxiliaryHead
from condseg_monai.networks.blocks.cdfa import ContrastDrivenFeatureAggregation, RegionFeatures
from condseg_monai.networks.blocks.convolution import conv_norm_act, upsample
from condseg_monai.networks.blocks.pre_enhancement import PreEnhancement
from condseg_monai.networks.blocks.sa_decoder import SizeAwareDecoder
from condseg_monai.networks.blocks.sid import SemanticInformationDecoupling
from condseg_monai.networks.checkpointing import CheckpointedModule, set_checkpointing
from condseg_monai.networks.class_names import set_class_names
from condseg_monai.networks.encoders import Encoder, get_encoder
from condseg_monai.networks.feature_norm import set_norm
from condseg_monai.networks.nets.initialization import initialize_decoder, start_at_prior
from condseg_monai.networks.nets.padding import check_image, crop, pad_to_multiple
from condseg_monai.networks.ops.softmax import float32_softmax

__all__ = ["ConDSeg", "ConDSegOutput", "RegionPrediction"]


class ConDSegOutput(NamedTuple):
    """Logits of one training step, all at the size of the input."""

    mask: Tensor  # (B, out_channels, H, W)
    foreground: Tensor  # (B, 1, H, W), as are the other regions
    background: Tensor
    uncertainty: Tensor


class RegionPrediction(NamedTuple):
    """The mask and what each region claims of the image."""

    mask: Tensor  # (B, out_channels, H, W) logits
    regions: Tensor  # (B, 3, H, W) probabilities of foreground, background and uncertainty, summing to 1 (Eq. 8)


class ConDSeg(nn.Module):
    """ConDSeg: contrast-driven segmentation of images with soft boundaries and low contrast.

    Source: M. Lei et al., "ConDSeg: A General Medical Image Segmentation Framework via Contrast-Driven Feature
    Enhancement", AAAI 2025; ``forward`` follows its framework figure.

    In training mode the network returns :class:`ConDSegOutput`; in evaluation mode one tensor, the mask logits, and
    computes nothing they do not need. Any height and width of at least 16 will do: the image is padded inside by
    repeating its last row and column, and the output is cropped. Initial weights: ``networks/nets/initialization.py``.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the mask: 1 for a binary mask (sigmoid), the number of classes otherwise (softmax).
        encoder: a name, such as ``"resnet50"``: a key of ``condseg_monai.networks.encoders.ENCODERS``, with random
            weights until :func:`~condseg_monai.networks.encoders.load_encoder_weights`; or an :class:`Encoder`.
        decoder_channels: channels of everything after the encoder; a positive multiple of 4.
        cdfa: ``"paper"`` for Eq. 11 to 14 as written, ``"released"`` for what the released networks compute: see
            :class:`~condseg_monai.networks.blocks.cdfa.ContrastDrivenFeatureAggregation`.
        cdfa_window: K, the odd size of CDFA's neighbourhood; 3 in the paper.
        cdfa_heads: attention heads of CDFA; None for 1 in the paper's form and 4 in the released one.
        dilation_scale: factor of pre-enhancement's dilations, which are for images of 256 pixels: see
            :class:`~condseg_monai.networks.blocks.pre_enhancement.PreEnhancement`.
        decoders: 3, for small, medium and large targets, as in the paper; or 1, the first of them alone, which reads
            the two finest stages (for the paper's Table 4, which does not say how its single decoder is built).
        dropout: probability with which a channel is dropped ahead of the last convolution of the mask.
        class_names: a name per channel of the mask, background first, for ``out_channels`` of 2 and more; part of the
            state_dict, so that a checkpoint has them: see :func:`~condseg_monai.class_names_of`.
        act: activation of the convolutions after the encoder, a name from MONAI's ``Act`` factory; attention and
            residual sums keep ReLU.
        cbat: whether the three decoders end in a CBAM, as Med-DisSeg's do.
        norm: normalisation of feature maps, encoder included, ``"batch"`` or ``"group"``: see
            :func:`~condseg_monai.networks.feature_norm.set_norm`.
        checkpointing: what training keeps for the backward pass, ``"none"``, ``"selective"`` or ``"block"``: see
            :func:`~condseg_monai.networks.checkpointing.set_checkpointing`.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> network = ConDSeg(encoder="resnet18", decoder_channels=16).eval()
        >>> network(torch.rand(1, 3, 50, 70)).shape
        torch.Size([1, 1, 50, 70])
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 1,
        encoder: str | Encoder = "resnet50",
        decoder_channels: int = 128,
        cdfa: str = "paper",
        cdfa_window: int = 3,
        cdfa_heads: int | None = None,
        dilation_scale: float = 1.0,
        decoders: int = 3,
        dropout: float = 0.0,
        class_names: Sequence[str] | None = None,
        act: str = "relu",
        cbat: bool = False,
        norm: str = "batch",
        checkpointing: str = "none",
    ) -> None:
        super().__init__()
        if in_channels < 1 or out_channels < 1:
            raise ValueError(f"in_channels and out_channels must be positive, got {in_channels} and {out_channels}")
        if decoder_channels < 4 or decoder_channels % 4:
            raise ValueError(f"decoder_channels must be a positive multiple of 4, got {decoder_channels}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        if decoders not in (1, 3):
            raise ValueError(f"decoders must be 1 or 3, got {decoders}")
        if not dilation_scale > 0:
            raise ValueError(f"dilation_scale must be positive, got {dilation_scale}")
        self.in_channels = in_channels
        self.encoder = get_encoder(encoder, in_channels)
        self.stride = self.encoder.strides[3]
        channels = decoder_channels

        self.sid = SemanticInformationDecoupling(self.encoder.channels[3], channels, act)
        self.foreground_head = AuxiliaryHead(channels, self.stride, act)
        self.background_head = AuxiliaryHead(channels, self.stride, act)
        self.uncertainty_head = AuxiliaryHead(channels, self.stride, act)

        # Lists run fine to coarse, as the encoder's maps do.
        self.pre_enhancements = nn.ModuleList(
            PreEnhancement(c, channels, act, dilation_scale) for c in self.encoder.channels
        )
        self.foreground_features = nn.ModuleList(RegionFeatures(channels, factor, act) for factor in (8, 4, 2, 1))
        self.background_features = nn.ModuleList(RegionFeatures(channels, factor, act) for factor in (8, 4, 2, 1))
        self.cdfas = nn.ModuleList(
            ContrastDrivenFeatureAggregation(
                channels if i == 3 else 2 * channels, channels, form=cdfa, window=cdfa_window, heads=cdfa_heads, act=act
            )
            for i in range(4)
        )
        self.small_decoder = SizeAwareDecoder(channels, act, cbat)
        # TorchScript leaves out what is None
        self.medium_decoder = SizeAwareDecoder(channels, act, cbat) if decoders == 3 else None
        self.large_decoder = SizeAwareDecoder(channels, act, cbat) if decoders == 3 else None
        self.output = MaskHead(channels, out_channels, self.encoder.strides[0], dropout, act, decoders)
        initialize_decoder(self)
        start_at_prior(self.foreground_head.logits)
        start_at_prior(self.background_head.logits, rare=False)
        start_at_prior(self.uncertainty_head.logits)
        start_at_prior(self.output.logits)
        set_class_names(self, class_names, out_channels)
        set_norm(self, norm)
        set_checkpointing(self, checkpointing)

    def forward(self, x: Tensor) -> Tensor:
        """Segment images.

        Args:
            x: ``(B, in_channels, H, W)``, normalised as the weights expect.

        Returns:
            In training mode, :class:`ConDSegOutput`; in evaluation mode, mask logits ``(B, out_channels, H, W)``.

        Raises:
            ValueError: if ``x`` is not such a tensor, or H or W is under 16.
        """
        if not torch.jit.is_scripting() and self.training:
            # TorchScript wants one return type, that of evaluation; a scripted network cannot be trained.
            return cast(Tensor, self.forward_regions(x))
        mask, _, _, _ = self._forward_mask(x)
        return mask

    @torch.jit.unused
    def predict_regions(self, x: Tensor) -> RegionPrediction:
        """Segment images and give each region's probability per pixel, for uncertainty maps."""
        output = self.forward_regions(x)
        regions = torch.cat([output.foreground, output.background, output.uncertainty], dim=1)
        return RegionPrediction(output.mask, float32_softmax(regions, dim=1))

    @torch.jit.unused
    def region_features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """SID's features of foreground, background and uncertainty, ``(B, decoder_channels, H', W')`` each."""
        check_image(x, self.in_channels)
        return self.sid(self.encoder(pad_to_multiple(x, self.stride))[3])

    @torch.jit.unused
    def forward_regions(self, x: Tensor) -> ConDSegOutput:
        """The logits of the mask and of the three regions, in either mode."""
        output, _ = self._forward_regions(x)
        return output

    @torch.jit.unused
    def _forward_regions(self, x: Tensor) -> tuple[ConDSegOutput, list[Tensor]]:
        """The logits of the mask and of the three regions, and the encoder's maps."""
        mask, foreground, background, maps = self._forward_mask(x)
        output = ConDSegOutput(
            mask,
            crop(self.foreground_head(foreground), x),
            crop(self.background_head(background), x),
            crop(self.uncertainty_head(self.sid.uncertainty(maps[3])), x),
        )
        return output, maps

    def _forward_mask(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Mask logits, foreground features, background features, and the encoder's maps."""
        if not torch.jit.is_tracing():
            check_image(x, self.in_channels)
        maps = self.encoder(pad_to_multiple(x, self.stride))
        foreground = self.sid.foreground(maps[3])
        background = self.sid.background(maps[3])

        # Indices, not a loop from the deepest: TorchScript calls the members of a list by constant index only. Features
        # are made where they are used, so that in evaluation each level's are gone when the next begins.
        f4 = self.cdfas[3](
            self.pre_enhancements[3](maps[3]),
            self.foreground_features[3](foreground),
            self.background_features[3](background),
        )
        f3 = self.cdfas[2](
            self.pre_enhancements[2](maps[2]),
            self.foreground_features[2](foreground),
            self.background_features[2](background),
            f4,
        )
        f2 = self.cdfas[1](
            self.pre_enhancements[1](maps[1]),
            self.foreground_features[1](foreground),
            self.background_features[1](background),
            f3,
        )
        f1 = self.cdfas[0](
            self.pre_enhancements[0](maps[0]),
            self.foreground_features[0](foreground),
            self.background_features[0](background),
            f2,
        )

        decoded = [self.small_decoder(f1, f2)]
        if self.medium_decoder is not None:
            decoded.append(self.medium_decoder(f2, f3))
        if self.large_decoder is not None:
            decoded.append(self.large_decoder(f3, f4))
        return crop(self.output(decoded), x), foreground, background, maps


class MaskHead(CheckpointedModule):
    """Fuse the decoders at the finest stride, upsample to the input's size, and give the mask's logits."""

    def __init__(
        self, channels: int, out_channels: int, stride: int, dropout: float = 0.0, act: str = "relu", decoders: int = 3
    ) -> None:
        super().__init__()
        self.stride = stride
        self.fuse = conv_norm_act(decoders * channels, channels, act=act)
        self.conv1 = conv_norm_act(channels, channels, act=act)
        self.conv2 = conv_norm_act(channels, channels // 2, 1, act=act)
        self.dropout = nn.Dropout2d(dropout)
        self.logits = nn.Conv2d(channels // 2, out_channels, kernel_size=1)

    def forward(self, decoded: list[Tensor]) -> Tensor:
        """Map ``(B, channels, H, W)``, then ``H / 2`` and so on, to ``(B, out_channels, stride * H, stride * W)``."""
        x = self.fuse(torch.cat([upsample(x, 1 << i) for i, x in enumerate(decoded)], dim=1))
        x = self.conv2(self.conv1(upsample(x, self.stride)))
        return self.logits(self.dropout(x))
