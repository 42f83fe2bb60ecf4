"""Plain composition of the networks, as the released networks are wired: what the package's are compared with.

Same modules, same parameters under the same names, same numbers. What differs: CDFA unfolds windows, multiplies them by
the attention and folds them; the auxiliary heads always run; stage 1 upsamples the encoder's maps to full size and
concatenates them before it convolves.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from condseg_monai import ConDSeg, ConDSegStage1, MedDisSeg
from condseg_monai.networks.blocks.cdfa import ContrastDrivenFeatureAggregation
from condseg_monai.networks.blocks.convolution import upsample
from condseg_monai.networks.nets import ConDSegOutput, MedDisSegOutput
from condseg_monai.networks.ops.local_attention import plain_window_attention

__all__ = ["PlainConDSeg", "PlainConDSegStage1", "PlainMedDisSeg"]


class PlainContrastDrivenFeatureAggregation(ContrastDrivenFeatureAggregation):
    """CDFA by unfold, matrix products and fold."""

    def forward(self, x: Tensor, foreground: Tensor, background: Tensor, deeper: Tensor | None = None) -> Tensor:
        """Aggregate ``x``; arguments and result as for the class this one is compared with."""
        if deeper is not None:
            x = torch.cat([x, upsample(deeper, 2)], dim=1)
        values = self.value(self.input(x))
        fg = self._attention(self.foreground_attention(foreground))
        bg = self._attention(self.background_attention(background))
        if self.released:
            values = self.projection(plain_window_attention(values, fg))
            values = self.projection(plain_window_attention(values, bg))
        else:
            # Positions last: the product of the two attentions is a batched product of small matrices.
            first, second = (attention.permute(0, 1, 4, 5, 2, 3) for attention in (fg, bg))
            values = plain_window_attention(values, (first @ second).permute(0, 1, 4, 5, 2, 3))
        return self.output(values)


class PlainConDSeg(ConDSeg):
    """ConDSeg with plain CDFAs, whose auxiliary heads run in evaluation too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _make_plain(self)

    def forward(self, x: Tensor) -> ConDSegOutput:  # type: ignore[override]
        """The logits of mask and regions, in either mode."""
        return self.forward_regions(x)


class PlainMedDisSeg(MedDisSeg):
    """Med-DisSeg made plain in the same way."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _make_plain(self)

    def forward(self, x: Tensor) -> MedDisSegOutput:  # type: ignore[override]
        """The logits of mask and regions and the encoder's maps, in either mode."""
        output, features = self._forward_regions(x)
        return MedDisSegOutput(*output, features)


class PlainConDSegStage1(ConDSegStage1):
    """The first stage with the encoder's maps upsampled before the 1x1 convolutions, as the paper's figure has it."""

    def forward(self, x: Tensor) -> Tensor:
        """Mask logits ``(B, out_channels, H, W)``; H and W are multiples of the encoder's stride."""
        maps = [upsample(x, stride) for x, stride in zip(self.encoder(x), self.encoder.strides, strict=True)]
        levels = [F.relu(level.norm(level.conv(x))) for level, x in zip(self.levels, maps, strict=True)]
        return self.fuse(torch.cat(levels, dim=1))


def _make_plain(network: ConDSeg) -> None:
    for cdfa in network.cdfas:
        cdfa.__class__ = PlainContrastDrivenFeatureAggregation
