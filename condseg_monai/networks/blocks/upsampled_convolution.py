"""Convolution of maps that are enlarged and joined first; what can be is computed at the size they come in."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from monai.networks.blocks import Convolution
from torch import Tensor, nn
from torch.nn.utils import skip_init

from condseg_monai.networks.blocks.convolution import norm_act_arguments, upsample
from condseg_monai.networks.blocks.convolve_upsampled import check_maps, convolve_upsampled

__all__ = ["UpsampledConv2d", "UpsampledConvolution"]

_FEWEST_CHANNELS = 64
"""With fewer channels the matrix products are too small: enlarging first is as fast, or faster."""


class UpsampledConvolution(Convolution):
    """A convolution, BatchNorm and an activation of maps that are enlarged and joined first.

    What :func:`~condseg_monai.networks.blocks.conv_norm_act` makes of the same arguments, under the same names of
    weights, applied to ``torch.cat([upsample(x, factor) for x, factor in zip(maps, factors)], dim=1)``.

    Args:
        in_channels: channels of all maps together.
        out_channels: channels of the output.
        kernel_size: odd kernel size.
        act: a name from MONAI's ``Act`` factory.
        bias: whether the convolution has one.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, act: str | None = "relu", bias: bool = False
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=kernel_size,
            bias=bias,
            **norm_act_arguments(act),
        )
        drawn = self.get_submodule("conv")
        conv = skip_init(UpsampledConv2d, in_channels, out_channels, kernel_size, bias=bias)
        conv.load_state_dict(drawn.state_dict(), assign=True)  # the same draws as any other Convolution makes
        self.conv: nn.Module = conv

    def forward(self, maps: list[Tensor], factors: list[int]) -> Tensor:  # type: ignore[override]
        """Apply to maps ``(B, C_i, H_i, W_i)`` that have one size, ``(H, W)``, when enlarged by their ``factors``.

        Args:
            maps: their channels add up to ``in_channels``.
            factors: how many times each is enlarged, bilinearly with aligned corners; 1 leaves it as it is.

        Returns:
            ``(B, out_channels, H, W)``.
        """
        output: Tensor = self.adn(self.conv(maps, factors))  # type: ignore[operator]
        return output


class UpsampledConv2d(nn.Conv2d):
    """``nn.Conv2d`` of maps that are enlarged and joined first, with zeros around, so that the size stays.

    It is computed in one of three ways, which differ in rounding only:

    - A 1x1 convolution of an enlarged map is the enlarged 1x1 convolution of the map.
    - Larger kernels, on a CPU in float32 or float64 with 64 channels and more: :func:`convolve_upsampled`, where a map
      is enlarged, or several are joined.
    - Otherwise, and under TorchScript, a tracer, a compiler or an exporter: enlarge, join, convolve.

    Args:
        in_channels: channels of all maps together.
        out_channels: channels of the output.
        kernel_size: odd kernel size.
        bias: whether there is one.
        device: as for ``nn.Conv2d``.
        dtype: likewise.

    Raises:
        ValueError: if ``kernel_size`` is not odd and positive; of ``forward``: if the maps, enlarged, have different
            sizes or not ``in_channels`` channels together.
    """

    __constants__ = [*nn.Conv2d.__constants__, "low_resolution"]  # noqa: RUF012 TorchScript's
    low_resolution = True
    """False on an instance: always enlarge, join, convolve."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and positive, got {kernel_size}")
        super().__init__(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias, device=device, dtype=dtype
        )

    def forward(self, maps: list[Tensor], factors: list[int]) -> Tensor:  # type: ignore[override]
        """Convolve; arguments and result as for :class:`UpsampledConvolution`."""
        if not torch.jit.is_scripting():  # noqa: SIM102 TorchScript compiles whatever stands beside it
            if not torch.jit.is_tracing() and not torch.compiler.is_compiling():
                if self.uses_low_resolution(maps, factors):
                    return convolve_upsampled(maps, factors, self.weight, self.bias)
                check_maps(maps, factors, self.in_channels)
        if self.low_resolution and self.kernel_size[0] == 1:
            return self._convolve_pointwise(maps, factors)
        enlarged = [upsample(x, factor) for x, factor in zip(maps, factors)]  # noqa: B905 TorchScript has no strict
        joined = torch.cat(enlarged, dim=1) if len(enlarged) > 1 else enlarged[0]
        return self._conv_forward(joined, self.weight, self.bias)

    @torch.jit.unused
    def uses_low_resolution(self, maps: list[Tensor], factors: list[int]) -> bool:
        """Whether ``forward`` would call :func:`convolve_upsampled` with these arguments."""
        return self.low_resolution and self.kernel_size[0] > 1 and _pays_off(self, maps, factors)

    def _convolve_pointwise(self, maps: list[Tensor], factors: list[int]) -> Tensor:
        weights = self.weight.split([x.shape[1] for x in maps], dim=1)
        output = upsample(F.conv2d(maps[0], weights[0], self.bias), factors[0])
        for x, weight, factor in zip(maps[1:], weights[1:], factors[1:]):  # noqa: B905 as above
            output = output + upsample(F.conv2d(x, weight), factor)
        return output


def _pays_off(conv: nn.Conv2d, maps: list[Tensor], factors: list[int]) -> bool:
    if max(factors) == 1 and len(maps) == 1:
        return False
    x = maps[0]
    if x.device.type not in ("cpu", "meta") or x.dtype not in (torch.float32, torch.float64):
        return False
    if not all(type(x) is Tensor or isinstance(x, MetaTensor) for x in maps):
        return False  # such as FakeTensor, which has no values to look at
    if torch.is_autocast_enabled("cpu"):
        return False
    return min(conv.out_channels, *(x.shape[1] for x in maps)) >= _FEWEST_CHANNELS
