"""Convolution of maps that are enlarged and joined first, computed at the size they come in."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from monai.networks.blocks import Convolution
from torch import Tensor, nn
from torch.nn.utils import skip_init

from condseg_monai.networks.blocks.convolution import norm_act_arguments, upsample
from condseg_monai.networks.lean import compute_once
from condseg_monai.networks.once_differentiable import once_differentiable

__all__ = ["UpsampledConv2d", "UpsampledConvolution", "convolve_upsampled"]

_STEP = 16
"""Rows and columns that are computed at a time: what lies between the two sizes then stays in the processor's cache."""
_FEWEST_CHANNELS = 64
"""Below, the products are too small to be worth their calls: enlarging is as fast, or faster."""


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

    In evaluation as in training nothing large is made that need not be, in one of three ways, which differ in rounding
    only:

    - A 1x1 convolution of an enlarged map is the enlarged 1x1 convolution of the map.
    - Larger kernels, on a CPU in float32 or float64 with 64 channels and more: :func:`convolve_upsampled`, where a map
      is enlarged, or several are joined.
    - Otherwise, and where TorchScript, a tracer, a compiler or an exporter looks: as it is written.

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
    """False on an instance: always as it is written."""

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
                _check_maps(maps, factors, self.in_channels)
                if self.uses_low_resolution(maps, factors):
                    return _convolve_differentiably(maps, factors, self.weight, self.bias)
        if self.low_resolution and self.kernel_size[0] == 1:
            return self._convolve_pointwise(maps, factors)
        enlarged = [upsample(x, factor) for x, factor in zip(maps, factors)]  # noqa: B905 TorchScript has no strict
        joined = torch.cat(enlarged, dim=1) if len(enlarged) > 1 else enlarged[0]
        return self._conv_forward(joined, self.weight, self.bias)

    @torch.jit.unused
    def uses_low_resolution(self, maps: list[Tensor], factors: list[int]) -> bool:
        """Whether ``forward`` would call :func:`convolve_upsampled` with these arguments."""
        return self.low_resolution and self.kernel_size[0] > 1 and _is_worth_it(self, maps, factors)

    def _convolve_pointwise(self, maps: list[Tensor], factors: list[int]) -> Tensor:
        weights = self.weight.split([x.shape[1] for x in maps], dim=1)
        output = upsample(F.conv2d(maps[0], weights[0], self.bias), factors[0])
        for x, weight, factor in zip(maps[1:], weights[1:], factors[1:]):  # noqa: B905 as above
            output = output + upsample(F.conv2d(x, weight), factor)
        return output


def convolve_upsampled(
    maps: Sequence[Tensor], factors: Sequence[int], weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Convolve maps as if they were enlarged and joined first, in a fraction of the operations.

    Enlarging and convolving are linear. Each of the K x K weights of the kernel is applied to a map as it comes, which
    is a matrix product with a ``factor ** 2``-th of the enlarged map's pixels; then the K x K results are enlarged,
    shifted against each other and added, which one small matrix for the rows and one for the columns do at once. That
    goes tile by tile, so that the K x K results never exist as a whole. Maps that are joined are convolved one by one,
    and what comes out is added: the joined map and its gradient do not exist either.

    It can be differentiated once, backwards; ``torch.func``, forward mode and gradients of gradients need the
    convolution as it is written (``low_resolution = False`` on :class:`UpsampledConv2d`). A value that is not finite
    reaches the whole tile it is in, of 16 pixels and their neighbours, where a convolution would spread it over K
    pixels.

    Args:
        maps: ``(B, C_i, H_i, W_i)``, all ``(H, W)`` when enlarged.
        factors: how many times each is enlarged, bilinearly with aligned corners.
        weight: ``(out_channels, sum of C_i, K, K)`` with K odd.
        bias: ``(out_channels,)``, or None.

    Raises:
        ValueError: if the maps, enlarged, have different sizes or not the channels of ``weight`` together, or K is not
            odd.

    Returns:
        ``(B, out_channels, H, W)``, in ``channels_last`` format if a map was enlarged: up to rounding
        ``F.conv2d(joined, weight, bias, padding=K // 2)`` with
        ``joined = torch.cat([upsample(x, f) for x, f in zip(maps, factors)], dim=1)``.

    Example:
        >>> import torch
        >>> x, weight = torch.rand(1, 3, 5, 6), torch.rand(4, 3, 3, 3)
        >>> convolve_upsampled([x], [2], weight).shape
        torch.Size([1, 4, 10, 12])
    """
    _check_maps(maps, factors, weight.shape[1])
    if weight.shape[2] != weight.shape[3] or weight.shape[2] % 2 == 0:
        raise ValueError(f"the kernel must be square and odd, got {weight.shape[2]}x{weight.shape[3]}")
    return _convolve_differentiably(maps, factors, weight, bias)


def _convolve_differentiably(
    maps: Sequence[Tensor], factors: Sequence[int], weight: Tensor, bias: Tensor | None
) -> Tensor:
    if torch.is_grad_enabled() and any(x.requires_grad for x in (*maps, weight, bias) if x is not None):
        output: Tensor = _ConvolveUpsampled.apply(weight, bias, tuple(factors), *maps)
        return output
    return compute_once(lambda: _convolve(maps, factors, weight, bias))


def _check_maps(maps: Sequence[Tensor], factors: Sequence[int], channels: int) -> None:
    shapes = [(len(x), x.shape[1], *(factor * s for s in x.shape[2:])) for x, factor in zip(maps, factors, strict=True)]
    if len({(shape[0], *shape[2:]) for shape in shapes}) != 1 or sum(shape[1] for shape in shapes) != channels:
        found = ", ".join("x".join(map(str, shape)) for shape in shapes)
        raise ValueError(
            f"maps, enlarged by their factors, must have one batch and size and {channels} channels together, "
            f"got {found}"
        )


def _is_worth_it(conv: nn.Conv2d, maps: list[Tensor], factors: list[int]) -> bool:
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


class _ConvolveUpsampled(torch.autograd.Function):
    """:func:`_convolve` with a backward pass of the same kind, which needs the maps as they came."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, factors: tuple[int, ...], *maps: Tensor) -> Tensor:
        ctx.save_for_backward(weight, *maps)
        ctx.factors = factors
        return compute_once(lambda: _convolve(maps, factors, weight, bias))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        weight, *maps = ctx.saved_tensors
        needs_weight, needs_bias, _, *needs_maps = ctx.needs_input_grad
        if max(ctx.factors) > 1:
            grad = grad.contiguous(memory_format=torch.channels_last)
        weights = weight.split([x.shape[1] for x in maps], dim=1)
        grad_maps, grad_weights = zip(
            *(
                _convolve_backward(grad, *each, needs_weight)
                for each in zip(maps, ctx.factors, weights, needs_maps, strict=True)
            ),
            strict=True,
        )
        grad_weight = torch.cat(grad_weights, dim=1) if needs_weight else None
        return grad_weight, grad.sum(dim=(0, 2, 3)) if needs_bias else None, None, *grad_maps


def _convolve(maps: Sequence[Tensor], factors: Sequence[int], weight: Tensor, bias: Tensor | None) -> Tensor:
    """The sum over the maps."""
    output: Tensor | None = None
    weights = weight.split([x.shape[1] for x in maps], dim=1)
    for x, factor, part in zip(maps, factors, weights, strict=True):
        if factor == 1:
            if max(factors) > 1:
                x = x.contiguous(memory_format=torch.channels_last)  # as the other terms are
            term = F.conv2d(x, part, bias, padding=weight.shape[2] // 2)
        else:
            term = _convolve_map(x, factor, part, bias)
        bias = None  # is in the first term
        output = term if output is None else output.add_(term)
    assert output is not None
    return output


def _convolve_backward(
    grad: Tensor, x: Tensor, factor: int, weight: Tensor, needs_map: bool, needs_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of one map and its weights."""
    if factor > 1:
        return _convolve_map_backward(grad, x, factor, weight, needs_map, needs_weight)
    padding = [weight.shape[2] // 2] * 2
    needs = [needs_map, needs_weight, False]
    if grad.is_contiguous(memory_format=torch.channels_last):
        x = x.contiguous(memory_format=torch.channels_last)
    grad_map, grad_weight, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, [1, 1], padding, [1, 1], False, [0, 0], 1, needs
    )
    return grad_map, grad_weight


class _Tile(NamedTuple):
    """Some positions of one side along a line, and what they have to do with the other side."""

    start: int
    stop: int
    first: int
    last: int
    weights: Tensor
    """``(stop - start, K, last - first)``"""


@functools.lru_cache(maxsize=256)
def _tiles(low: int, factor: int, size: int, dtype: torch.dtype, of_output: bool) -> tuple[_Tile, ...]:
    """Cut a line of ``factor * low`` outputs, or of ``low`` inputs, into tiles; each has the range it depends on.

    All those ranges are equally long.
    """
    with torch.inference_mode(False):
        weights = _weights(low, factor, size)  # (outputs, K, inputs)
        if not of_output:
            weights = weights.permute(2, 1, 0)
        length, _, other = weights.shape
        ranges = []
        for start in range(0, length, _STEP):
            used = weights[start : start + _STEP].abs().amax(dim=(0, 1)).nonzero()
            ranges.append((int(used[0]), int(used[-1]) + 1))
        width = max(last - first for first, last in ranges)
        tiles = []
        for start, (first, _) in zip(range(0, length, _STEP), ranges, strict=True):
            stop, first = min(start + _STEP, length), min(first, other - width)
            part = weights[start:stop, :, first : first + width]
            tiles.append(_Tile(start, stop, first, first + width, part.to(dtype, copy=True)))  # the rest goes
        return tuple(tiles)


def _weights(low: int, factor: int, size: int) -> Tensor:
    """``(factor * low, size, low)``: what of each input the position that each weight of the kernel meets is made of.

    Weight ``t`` of the kernel meets, for output ``i``, position ``i + t - size // 2`` of the enlarged line, which is
    zero beyond its ends.
    """
    high = factor * low
    each = torch.eye(low, dtype=torch.float64, device="cpu").unsqueeze(0)  # whatever the default device
    enlarge = F.interpolate(each, size=high, mode="linear", align_corners=True).squeeze(0).T  # (high, low)
    weights = enlarge.new_zeros(high, size, low)
    for t in range(size):
        shift = t - size // 2
        weights[max(0, -shift) : high - max(0, shift), t] = enlarge[max(0, shift) : high + min(0, shift)]
    return weights


def _convolve_map(x: Tensor, factor: int, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``F.conv2d(upsample(x, factor), weight, bias, padding=K // 2)``."""
    batch, in_channels, low_height, low_width = x.shape
    channels, _, size, _ = weight.shape
    height, width = factor * low_height, factor * low_width
    rows = [_to_device(tile, x) for tile in _tiles(low_height, factor, size, x.dtype, True)]
    columns = [_to_device(tile, x) for tile in _tiles(low_width, factor, size, x.dtype, True)]
    row_mixers = [tile.weights.flatten(1) for tile in rows]  # (outputs, K * inputs)
    column_mixers = [tile.weights.permute(0, 2, 1).flatten(1) for tile in columns]  # (outputs, inputs * K)
    by_row = weight.permute(2, 1, 3, 0).reshape(size, in_channels, size * channels).unbind()  # K; input; K, output
    window = rows[0].last - rows[0].first

    output = x.new_empty((batch, height, width, channels)).permute(0, 3, 1, 2)  # channels_last
    # For each row of the kernel the rows of a window, with the columns of a tile; what windows share stays.
    mixed = [x.new_empty((size, window, (tile.stop - tile.start) * channels)) for tile in columns]
    products = x.new_empty((size, window * low_width, size * channels))
    added = None if bias is None else bias.repeat(_STEP)
    for image, result in zip(x.permute(0, 2, 3, 1).contiguous(), output.permute(0, 2, 3, 1), strict=True):
        result = result.view(height, width * channels)
        done = 0
        for tile, row_mixer in zip(rows, row_mixers, strict=True):
            kept = max(0, done - tile.first)
            fresh = window - kept
            pixels = image[tile.first + kept : tile.last].view(fresh * low_width, in_channels)
            for k in range(size if fresh else 0):
                torch.mm(pixels, by_row[k], out=products[k, : len(pixels)])
            for column, column_mixer, lines in zip(columns, column_mixers, mixed, strict=True):
                if fresh and kept:
                    lines[:, :kept] = lines[:, fresh:].clone()
                for k in range(size if fresh else 0):
                    product = products[k, : len(pixels)].view(fresh, low_width * size, channels)
                    torch.bmm(
                        column_mixer.expand(fresh, -1, -1),
                        product[:, column.first * size : column.last * size],
                        out=lines[k, kept:].view(fresh, -1, channels),
                    )
                place = result[tile.start : tile.stop, column.start * channels : column.stop * channels]
                if added is None:
                    torch.mm(row_mixer, lines.flatten(0, 1), out=place)
                else:
                    torch.addmm(added[: place.shape[1]], row_mixer, lines.flatten(0, 1), out=place)
            done = tile.last
    return output


def _convolve_map_backward(
    grad: Tensor, x: Tensor, factor: int, weight: Tensor, needs_map: bool, needs_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of ``x`` and ``weight`` from that of :func:`_convolve_map`, ``grad`` in ``channels_last`` format."""
    _, in_channels, low_height, low_width = x.shape
    channels, _, size, _ = weight.shape
    height, width = factor * low_height, factor * low_width
    rows = [_to_device(tile, x) for tile in _tiles(low_height, factor, size, x.dtype, False)]
    columns = [_to_device(tile, x) for tile in _tiles(low_width, factor, size, x.dtype, False)]
    row_mixers = [tile.weights.permute(1, 0, 2).flatten(0, 1) for tile in rows]  # (K * inputs, outputs)
    column_mixers = [tile.weights.flatten(0, 1) for tile in columns]  # (inputs * K, outputs)
    by_row = weight.permute(2, 3, 0, 1).reshape(size, size * channels, in_channels).unbind()  # K; K, output; input

    grad_map = torch.empty_like(x, memory_format=torch.channels_last)
    grad_weight = weight.new_zeros((size, size * channels, in_channels))
    images, results = x.permute(0, 2, 3, 1).contiguous(), grad_map.permute(0, 2, 3, 1)
    for image, result, lines in zip(images, results, grad.permute(0, 2, 3, 1), strict=True):
        lines = lines.reshape(height, width * channels)
        for row, row_mixer in zip(rows, row_mixers, strict=True):
            for column, column_mixer in zip(columns, column_mixers, strict=True):
                tile = slice(row.start, row.stop), slice(column.start, column.stop)
                pixels = image[tile].reshape(-1, in_channels)
                mixed = row_mixer @ lines[row.first : row.last, column.first * channels : column.last * channels]
                mixed = mixed.view(len(mixed), -1, channels)
                products = torch.bmm(column_mixer.expand(len(mixed), -1, -1), mixed).view(size, -1, size * channels)
                for k in range(size if needs_weight else 0):
                    grad_weight[k].addmm_(products[k].T, pixels)
                if needs_map:
                    grad_pixels = torch.mm(products[0], by_row[0])
                    for k in range(1, size):
                        grad_pixels.addmm_(products[k], by_row[k])
                    result[tile] = grad_pixels.view_as(result[tile])
    kernel = grad_weight.view(size, size, channels, in_channels).permute(2, 3, 0, 1)
    return grad_map if needs_map else None, kernel if needs_weight else None


def _to_device(tile: _Tile, like: Tensor) -> _Tile:
    return tile._replace(weights=tile.weights.to(like.device))
