"""Contrast-Driven Feature Aggregation (CDFA): local attention steered by foreground and background features."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from condseg_monai.networks.blocks.convolution import conv_norm_act, upsample
from condseg_monai.networks.checkpointing import CheckpointedModule, CheckpointedSequential
from condseg_monai.networks.ops.local_attention import compose_attention, window_attention
from condseg_monai.networks.ops.softmax import float32_softmax

__all__ = ["ContrastDrivenFeatureAggregation", "RegionFeatures"]


class ContrastDrivenFeatureAggregation(nn.Module):
    """Re-weigh each ``window x window`` neighbourhood by what the foreground and the background features see there.

    Source: ConDSeg (AAAI 2025), "Contrast-Driven Feature Aggregation", Eq. 11 to 14. Eq. 12 has attention of K^2 values
    and weights of K^4, which cannot both be: here each of the K^2 positions weighs K^2. The two convolutions after Eq.
    14 are those of the released code.

    Two forms exist, and they are different functions:

    - ``form="paper"``: the equations as written. Windows are unfolded once, weighed by the background attention and
      then by the foreground attention, and overlap-added once.
    - ``form="released"``: what the released networks compute, and converted checkpoints need. Two whole rounds of
      unfold, attention, overlap-add and a shared projection, the foreground's first and the background's on its
      result; attention logits are scaled by ``(channels / heads) ** -0.5``.

    Args:
        in_channels: channels of the input, ``deeper`` included.
        channels: channels of the region features and of the output.
        form: ``"paper"`` or ``"released"``.
        window: odd size K of the neighbourhood.
        heads: attention heads; None is 1 for the paper's form and 4 for the released one.
        act: activation of its convolutions, a name from MONAI's ``Act`` factory.
        fused: whether window attention is a Triton kernel, on CUDA, with Triton installed; the numbers are the same.

    Raises:
        ValueError: if ``form`` is unknown, ``window`` is not odd and positive, or ``heads`` does not divide
            ``channels``.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        form: str = "paper",
        window: int = 3,
        heads: int | None = None,
        act: str = "relu",
        fused: bool = False,
    ) -> None:
        super().__init__()
        if form not in ("paper", "released"):
            raise ValueError(f'form must be "paper" or "released", got {form!r}')
        if window < 1 or window % 2 == 0:
            raise ValueError(f"window must be odd and positive, got {window}")
        heads = heads if heads is not None else (1 if form == "paper" else 4)
        if heads < 1 or channels % heads:
            raise ValueError(f"heads must divide channels, got heads={heads} and channels={channels}")
        self.released = form == "released"
        self.fused = fused
        self.window = window
        self.heads = heads
        self.scale = (channels // heads) ** -0.5 if self.released else 1.0
        self.input = _double_conv(in_channels, channels, act)
        # Linear layers over channels are 1x1 convolutions: no permutation of the maps is needed.
        self.value = nn.Conv2d(channels, channels, kernel_size=1)
        self.foreground_attention = nn.Conv2d(channels, heads * window**4, kernel_size=1)
        self.background_attention = nn.Conv2d(channels, heads * window**4, kernel_size=1)
        self.projection = nn.Conv2d(channels, channels, kernel_size=1) if self.released else nn.Identity()
        self.output = _double_conv(channels, channels, act)

    def forward(self, x: Tensor, foreground: Tensor, background: Tensor, deeper: Tensor | None = None) -> Tensor:
        """Aggregate ``x`` under the contrast between the regions.

        Args:
            x: ``(B, C, H, W)``.
            foreground: features ``(B, channels, H, W)``, as are ``background`` and the result.
            background: likewise.
            deeper: ``(B, in_channels - C, H / 2, W / 2)``, the output of the next deeper stage, which is upsampled
                and concatenated to ``x``; None if C is ``in_channels``.
        """
        if deeper is not None:
            x = torch.cat([x, upsample(deeper, 2)], dim=1)
        values = self.value(self.input(x))
        # Contiguous, so that the logits come out contiguous, as the softmax below needs them, and are not copied.
        fg = self._attention(self.foreground_attention(foreground.contiguous()))
        bg = self._attention(self.background_attention(background.contiguous()))
        if self.released:
            values = self.projection(self._weigh(values, fg))
            values = self.projection(self._weigh(values, bg))
        else:
            values = self._weigh(values, compose_attention(fg, bg))
        return self.output(values)

    def _weigh(self, values: Tensor, attention: Tensor) -> Tensor:
        if not torch.jit.is_scripting() and self.fused:
            return _fused(values, attention)
        return window_attention(values, attention)

    def _attention(self, logits: Tensor) -> Tensor:
        """Softmax over the window positions that are weighed (Eq. 12): ``(B, heads, K * K, K * K, H, W)``."""
        positions = self.window * self.window
        b, _, h, w = logits.shape
        # Contiguous, whatever the convolutions gave: window attention reads the rows of each map.
        logits = logits.contiguous().view(b, self.heads, positions, positions, h, w)
        return float32_softmax(logits * self.scale, dim=3)


@torch.jit.unused
def _fused(values: Tensor, attention: Tensor) -> Tensor:
    from condseg_monai.networks.ops.fused_attention import fused_window_attention  # Triton comes with CUDA only

    return fused_window_attention(values, attention)


def _double_conv(in_channels: int, out_channels: int, act: str) -> CheckpointedSequential:
    return CheckpointedSequential(
        conv_norm_act(in_channels, out_channels, act=act), conv_norm_act(out_channels, out_channels, act=act)
    )


class RegionFeatures(CheckpointedModule):
    """Bring one region's features from the deepest stride to that of a CDFA stage, ``factor`` times finer.

    One convolution, then ``log2(factor)`` times an upsampling by two and a convolution.
    """

    def __init__(self, channels: int, factor: int, act: str = "relu") -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            conv_norm_act(channels, channels, act=act) for _ in range(int(math.log2(factor)) + 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, channels, H, W)`` to ``(B, channels, factor * H, factor * W)``."""
        for i, conv in enumerate(self.convs):
            x = conv(x if i == 0 else upsample(x, 2))
        return x
