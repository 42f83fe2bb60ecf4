"""Convolve enlarged and joined maps without enlarging or joining them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from condseg_monai.networks.blocks.convolve_upsampled_map import convolve_map, convolve_map_backward
from condseg_monai.networks.lean import compute_once
from condseg_monai.networks.once_differentiable import once_differentiable

__all__ = ["check_maps", "convolve_upsampled"]


def convolve_upsampled(
    maps: Sequence[Tensor], factors: Sequence[int], weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Convolve maps as if they were enlarged and joined first, in a fraction of the operations.

    Enlarging and convolving are linear. Each of the K x K weights of the kernel is applied to a map as it comes, which
    is a matrix product with a ``factor ** 2``-th of the enlarged map's pixels; then the K x K results are enlarged,
    shifted against each other and added, which one small matrix for the rows and one for the columns do at once. That
    goes tile by tile, so that the K x K results never exist as a whole. Maps that are joined are convolved one by one,
    and the results are added: the joined map and its gradient do not exist either.

    It can be differentiated once, backwards; ``torch.func``, forward mode and gradients of gradients need
    ``low_resolution = False`` on :class:`~condseg_monai.networks.blocks.UpsampledConv2d`. A value that is not finite
    spoils every tile that it reaches, of 16 x 16 pixels, not only its own neighbours.

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
    check_maps(maps, factors, weight.shape[1])
    if weight.shape[2] != weight.shape[3] or weight.shape[2] % 2 == 0:
        raise ValueError(f"the kernel must be square and odd, got {weight.shape[2]}x{weight.shape[3]}")
    if torch.is_grad_enabled() and any(x.requires_grad for x in (*maps, weight, bias) if x is not None):
        output: Tensor = _ConvolveUpsampled.apply(weight, bias, tuple(factors), *maps)
        return output
    return compute_once(lambda: _convolve(maps, factors, weight, bias))


def check_maps(maps: Sequence[Tensor], factors: Sequence[int], channels: int) -> None:
    """Raise a ValueError unless the maps, enlarged, have one batch and size, and ``channels`` channels together."""
    shapes = [(len(x), x.shape[1], *(factor * s for s in x.shape[2:])) for x, factor in zip(maps, factors, strict=True)]
    if len({(shape[0], *shape[2:]) for shape in shapes}) != 1 or sum(shape[1] for shape in shapes) != channels:
        found = ", ".join("x".join(map(str, shape)) for shape in shapes)
        raise ValueError(
            f"maps, enlarged by their factors, must have one batch and size and {channels} channels together, "
            f"got {found}"
        )


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
            term = convolve_map(x, factor, part, bias)
        bias = None  # is in the first term
        output = term if output is None else output.add_(term)
    assert output is not None
    return output


def _convolve_backward(
    grad: Tensor, x: Tensor, factor: int, weight: Tensor, needs_map: bool, needs_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of one map and its weights."""
    if factor > 1:
        return convolve_map_backward(grad, x, factor, weight, needs_map, needs_weight)
    padding = [weight.shape[2] // 2] * 2
    needs = [needs_map, needs_weight, False]
    if grad.is_contiguous(memory_format=torch.channels_last):
        x = x.contiguous(memory_format=torch.channels_last)
    grad_map, grad_weight, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, [1, 1], padding, [1, 1], False, [0, 0], 1, needs
    )
    return grad_map, grad_weight
