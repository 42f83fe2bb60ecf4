"""ConDSeg's first-stage network (the paper's Net_0): the encoder under a light prediction head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.layers.utils import get_act_layer
from torch import Tensor, nn

from condseg_monai.networks.blocks.convolution import upsample
from condseg_monai.networks.blocks.elat import ELAT
from condseg_monai.networks.checkpointing import CheckpointedModule, set_checkpointing
from condseg_monai.networks.class_names import set_class_names
from condseg_monai.networks.encoders import Encoder, get_encoder
from condseg_monai.networks.feature_norm import set_norm
from condseg_monai.networks.nets.padding import check_image, crop, pad_to_multiple

__all__ = ["ConDSegStage1"]

_HEAD_CHANNELS = 64


class ConDSegStage1(nn.Module):
    """The network that Consistency Reinforcement trains, so that its encoder can start the second stage.

    Source: ConDSeg (AAAI 2025), "Consistency Reinforcement". The encoder's four maps are each brought to 64 channels at
    full size and summed up by one convolution into the mask.

    Sizes, errors and all arguments but one are as for :class:`~condseg_monai.ConDSeg`.

    Args:
        elat: whether each level ends in ELAT, as Med-DisSeg's do.

    Example:
        >>> ConDSegStage1(encoder="resnet18")(torch.rand(2, 3, 50, 70)).shape
        torch.Size([2, 1, 50, 70])
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 1,
        encoder: str | Encoder = "resnet50",
        class_names: Sequence[str] | None = None,
        act: str = "relu",
        elat: bool = False,
        norm: str = "batch",
        checkpointing: str = "none",
    ) -> None:
        super().__init__()
        if in_channels < 1 or out_channels < 1:
            raise ValueError(f"in_channels and out_channels must be positive, got {in_channels} and {out_channels}")
        self.in_channels = in_channels
        self.encoder = get_encoder(encoder, in_channels)
        self.stride = self.encoder.strides[3]
        self.levels = nn.ModuleList(
            _Level(channels, stride, act, elat)
            for channels, stride in zip(self.encoder.channels, self.encoder.strides, strict=True)
        )
        self.fuse = nn.Conv2d(4 * _HEAD_CHANNELS, out_channels, kernel_size=1, bias=False)
        set_class_names(self, class_names, out_channels)
        set_norm(self, norm)
        set_checkpointing(self, checkpointing)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(B, in_channels, H, W)`` to mask logits ``(B, out_channels, H, W)``."""
        logits, _ = self._forward_mask(x)
        return logits

    def _forward_mask(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Mask logits, and the encoder's maps."""
        if not torch.jit.is_tracing():
            check_image(x, self.in_channels)
        maps = self.encoder(pad_to_multiple(x, self.stride))
        # The convolution of the concatenated levels, one level at a time: the concatenation is never stored.
        weights = self.fuse.weight.chunk(4, dim=1)
        logits = torch.zeros((), dtype=x.dtype, device=x.device)
        for i, level in enumerate(self.levels):
            logits = logits + F.conv2d(level(maps[i]), weights[i])
        return crop(logits, x), maps


class _Level(CheckpointedModule):
    """One encoder map at 64 channels and full size: 1x1 convolution, upsampling, BatchNorm, activation, attention.

    The paper's figure upsamples first. A 1x1 convolution without bias commutes exactly with bilinear interpolation, in
    training too, and so the wide maps never exist at full size.
    """

    def __init__(self, in_channels: int, stride: int, act: str, elat: bool) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(in_channels, _HEAD_CHANNELS, kernel_size=1, bias=False)
        self.norm = nn.BatchNorm2d(_HEAD_CHANNELS)
        self.act = get_act_layer(("relu", {"inplace": True}) if act == "relu" else act)
        self.attention = ELAT(_HEAD_CHANNELS, act=act) if elat else nn.Identity()
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(self.act(self.norm(upsample(self.conv(x), self.stride))))
