"""The decoder that DEC-Seg has three times: one per scale, and one on their fused maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condseg_monai.networks.blocks.convolution import conv_norm_act
from condseg_monai.networks.checkpointing import CheckpointedModule

__all__ = ["ScaleDecoder"]


class ScaleDecoder(nn.Module):
    """Climb from the deepest map to the finest, one skip connection a level, as a U-Net does.

    Source: DEC-Seg, "Scale-specific decoder".

    Args:
        channels: channels of the maps that come out, fine to coarse; the last is the input's.
        skip_channels: channels of the skip connections, fine to coarse: one fewer.
        out_channels: channels of the logits.
        stride: stride of the finest map: the logits are upsampled by it.
        deepest: whether two convolutions come before the first step.
    """

    def __init__(
        self,
        channels: Sequence[int],
        skip_channels: Sequence[int],
        out_channels: int,
        stride: int,
        deepest: bool = False,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.deepest = _double_conv(channels[-1], channels[-1]) if deepest else nn.Identity()
        # Coarse to fine, in the order of the steps.
        self.steps = nn.ModuleList(
            _Step(channels[i + 1], skip_channels[i], channels[i]) for i in reversed(range(len(channels) - 1))
        )
        self.logits = nn.Conv2d(channels[0], out_channels, kernel_size=3, padding=1)

    def forward(self, deepest: Tensor, skips: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Decode one scale.

        Args:
            deepest: ``(B, channels[-1], h, w)``.
            skips: the skip connections, fine to coarse, each twice the size of the next; the last is twice ``deepest``.

        Returns:
            Logits ``(B, out_channels, H, W)``, and the decoder's maps, fine to coarse, ``deepest`` itself the last.
        """
        x = self.deepest(deepest)
        maps = [deepest]
        for i, step in enumerate(self.steps):
            x = step(x, skips[len(skips) - 1 - i])
            maps.append(x)
        logits = F.interpolate(self.logits(x), scale_factor=float(self.stride), mode="bilinear", align_corners=False)
        maps.reverse()
        return logits, maps


class _Step(CheckpointedModule):
    """One level up: transposed convolution, the skip connection concatenated ahead of it, two 3x3 convolutions."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2)
        self.conv = _double_conv(skip_channels + out_channels, out_channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.conv(torch.cat([skip, self.up(x)], dim=1))


def _double_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(conv_norm_act(in_channels, out_channels), conv_norm_act(out_channels, out_channels))
