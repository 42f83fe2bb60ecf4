"""The networks as they are drawn: a deliberately plain composition, to hold the package's cost against.

Same modules, same parameters under the same names, same numbers. What differs is how they are put together, which
follows the wiring of the released networks: CDFA unfolds windows, multiplies them by the attention and folds them, with
linear layers over channels last; the auxiliary heads always run; stage 1 upsamples the encoder's maps to full size and
concatenates them before it convolves.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condseg_monai import ConDSeg, ConDSegOutput, ConDSegStage1, MedDisSeg, MedDisSegOutput
from condseg_monai.networks.blocks import ContrastDrivenFeatureAggregation, upsample

__all__ = ["PlainConDSeg", "PlainConDSegStage1", "PlainContrastDrivenFeatureAggregation", "PlainMedDisSeg"]


class PlainContrastDrivenFeatureAggregation(ContrastDrivenFeatureAggregation):
    """CDFA by unfold, batched matrix products and fold."""

    def forward(self, x: Tensor, foreground: Tensor, background: Tensor, deeper: Tensor | None = None) -> Tensor:
        """Aggregate ``x``; arguments and result as for the class this one is compared with."""
        if deeper is not None:
            x = torch.cat([x, upsample(deeper, 2)], dim=1)
        values = _linear(self.input(x).permute(0, 2, 3, 1), self.value)
        fg = self._plain_attention(foreground, self.foreground_attention)
        bg = self._plain_attention(background, self.background_attention)
        if self.released:
            assert isinstance(self.projection, nn.Conv2d)
            for attention in (fg, bg):
                values = _linear(self._fold(attention @ self._unfold(values), values), self.projection)
        else:
            values = self._fold(fg @ (bg @ self._unfold(values)), values)
        return self.output(values.permute(0, 3, 1, 2))

    def _plain_attention(self, region: Tensor, layer: nn.Conv2d) -> Tensor:
        """``(B, heads, H * W, K * K, K * K)``."""
        b, _, h, w = region.shape
        positions = self.window * self.window
        logits = _linear(region.permute(0, 2, 3, 1), layer)
        logits = logits.reshape(b, h * w, self.heads, positions, positions).permute(0, 2, 1, 3, 4)
        return torch.softmax(logits * self.scale, dim=-1)

    def _unfold(self, values: Tensor) -> Tensor:
        """``(B, H, W, C)`` to windows ``(B, heads, H * W, K * K, C / heads)``."""
        b, h, w, c = values.shape
        windows = F.unfold(values.permute(0, 3, 1, 2), self.window, padding=self.window // 2)
        return windows.reshape(b, self.heads, c // self.heads, self.window**2, h * w).permute(0, 1, 4, 3, 2)

    def _fold(self, windows: Tensor, like: Tensor) -> Tensor:
        """Windows back to ``(B, H, W, C)``, added where they overlap."""
        b, h, w, c = like.shape
        columns = windows.permute(0, 1, 4, 3, 2).reshape(b, c * self.window**2, h * w)
        return F.fold(columns, (h, w), self.window, padding=self.window // 2).permute(0, 2, 3, 1)


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
        """The logits of mask and regions and the deepest map, in either mode."""
        output, features = self._forward_regions(x)
        return MedDisSegOutput(*output, features)


class PlainConDSegStage1(ConDSegStage1):
    """The first stage with the encoder's maps upsampled before the 1x1 convolutions, as the paper's figure has it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _make_plain(self)

    def forward(self, x: Tensor) -> Tensor:
        """Mask logits ``(B, out_channels, H, W)``; H and W are multiples of the encoder's stride."""
        maps = [
            F.interpolate(feature, size=x.shape[2:], mode="bilinear", align_corners=True) for feature in self.encoder(x)
        ]
        levels = [F.relu(level.norm(level.conv(enlarged))) for level, enlarged in zip(self.levels, maps, strict=True)]
        return self.fuse(torch.cat(levels, dim=1))


def _make_plain(network: nn.Module) -> None:
    """Compose CDFAs plainly."""
    for module in network.modules():
        if isinstance(module, ContrastDrivenFeatureAggregation):
            module.__class__ = PlainContrastDrivenFeatureAggregation


def _linear(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """The 1x1 convolution ``layer`` as a linear layer over the last dimension of ``(B, H, W, C)``."""
    return F.linear(x, layer.weight.flatten(1), layer.bias)
