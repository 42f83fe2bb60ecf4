"""The auxiliary head that turns one region's features into full-resolution logits."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from condseg_monai.networks.blocks.normalized_pointwise import normalized_pointwise
from condseg_monai.networks.blocks.upsampled_convolution import UpsampledConv2d, UpsampledConvolution
from condseg_monai.networks.lean import LeanModule, compute_again, is_lean

__all__ = ["AuxiliaryHead"]

# Widths of the convolutions, in units of decoder channels, by the stride of the features. From the released networks.
_WIDTHS = {16: (2.0, 2.0, 1.0, 0.5, 0.5), 32: (1.0, 1.0, 1.0, 0.5, 0.5, 0.25)}


class AuxiliaryHead(LeanModule):
    """Convolve and upsample, in turn, from the deepest stride to the input's size, then one logit per pixel.

    Source: ConDSeg (AAAI 2025), "Semantic Information Decoupling". The supplementary figure draws attention modules
    here; the released networks have none, and neither has this.

    Args:
        channels: channels of the region features.
        stride: stride of the region features, 16 or 32.
        act: activation of its convolutions, a name from MONAI's ``Act`` factory.
    """

    def __init__(self, channels: int, stride: int, act: str = "relu") -> None:
        super().__init__()
        if stride not in _WIDTHS:
            raise ValueError(f"stride must be one of {sorted(_WIDTHS)}, got {stride}")
        widths = [channels, *(max(1, int(width * channels)) for width in _WIDTHS[stride])]
        self.convs = nn.ModuleList(UpsampledConvolution(i, o, act=act) for i, o in pairwise(widths))
        self.logits = nn.Conv2d(widths[-1], 1, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, channels, H, W)`` to logits ``(B, 1, stride * H, stride * W)``."""
        if not torch.jit.is_scripting():  # noqa: SIM102 TorchScript compiles whatever stands beside it
            if self.lean and is_lean():
                return self._forward_lean(x)
        for i, conv in enumerate(self.convs):
            x = conv([x], [1 if i == 0 else 2])
        return self.logits(x)

    @torch.jit.unused
    def _forward_lean(self, x: Tensor) -> Tensor:
        """The same with a single map of the image's size, the output of the last convolution."""
        *convs, last = self.convs
        for i, block in enumerate(convs):
            x = block([x], [1 if i == 0 else 2])
        conv = last.get_submodule("conv")
        assert isinstance(conv, UpsampledConv2d)
        # Each of the three heads would keep that map for the backward pass; at low resolution it is quickly made again.
        output = compute_again(lambda: conv([x], [2])) if conv.uses_low_resolution([x], [2]) else conv([x], [2])
        return normalized_pointwise(output, last.get_submodule("adn"), self.logits)
