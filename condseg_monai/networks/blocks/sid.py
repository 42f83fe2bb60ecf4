"""Semantic Information Decoupling (SID): the deepest map split into foreground, background and uncertainty."""

from __future__ import annotations

from torch import Tensor, nn

from condseg_monai.networks.blocks.convolution import conv_norm_act
from condseg_monai.networks.checkpointing import CheckpointedSequential

__all__ = ["SemanticInformationDecoupling"]


class SemanticInformationDecoupling(nn.Module):
    """Three parallel branches that read foreground, background and uncertainty features from the deepest map.

    Source: ConDSeg (AAAI 2025), "Semantic Information Decoupling". In training,
    :class:`~condseg_monai.networks.blocks.auxiliary_head.AuxiliaryHead` gives each branch its meaning. The first
    convolution has half of the input's channels, as the two released networks have it.
    """

    def __init__(self, in_channels: int, channels: int, act: str = "relu") -> None:
        super().__init__()
        self.foreground = _branch(in_channels, channels, act)
        self.background = _branch(in_channels, channels, act)
        self.uncertainty = _branch(in_channels, channels, act)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map ``(B, in_channels, H, W)`` to foreground, background and uncertainty, ``(B, channels, H, W)`` each."""
        return self.foreground(x), self.background(x), self.uncertainty(x)


def _branch(in_channels: int, channels: int, act: str) -> CheckpointedSequential:
    return CheckpointedSequential(
        conv_norm_act(in_channels, in_channels // 2, act=act),
        conv_norm_act(in_channels // 2, channels, act=act),
        conv_norm_act(channels, channels, 1, act=act),
    )
