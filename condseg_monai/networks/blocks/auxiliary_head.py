"""The auxiliary head that turns one region's features into full-resolution logits."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from condseg_monai.networks.blocks.convolution import conv_norm_act, upsample
from condseg_monai.networks.checkpointing import CheckpointedModule

__all__ = ["AuxiliaryHead"]

# Widths of the convolutions, in units of decoder channels, by the stride of the features. From the released networks.
_WIDTHS = {16: (2.0, 2.0, 1.0, 0.5, 0.5), 32: (1.0, 1.0, 1.0, 0.5, 0.5, 0.25)}


class AuxiliaryHead(CheckpointedModule):
    """Convolve and upsample, in turn, from the deepest stride to the input's size, then one logit per pixel.

    Source: ConDSeg (AAAI 2025), "Semantic Information Decoupling", without the attention modules of the supplementary
    figure, as released. ``stride`` is that of the region features, 16 or 32.
    """

    def __init__(self, channels: int, stride: int, act: str = "relu") -> None:
        super().__init__()
        if stride not in _WIDTHS:
            raise ValueError(f"stride must be one of {sorted(_WIDTHS)}, got {stride}")
        widths = [channels, *(max(1, int(width * channels)) for width in _WIDTHS[stride])]
        self.convs = nn.ModuleList(conv_norm_act(i, o, act=act) for i, o in pairwise(widths))
        self.logits = nn.Conv2d(widths[-1], 1, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, channels, H, W)`` to logits ``(B, 1, stride * H, stride * W)``."""
        for i, conv in enumerate(self.convs):
            x = conv(x if i == 0 else upsample(x, 2))
        return self.logits(x)
