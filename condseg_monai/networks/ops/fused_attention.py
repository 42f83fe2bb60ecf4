"""Window attention as one Triton kernel for CUDA: :func:`window_attention` without its folded attention in memory."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["fused_window_attention"]

_PIXELS, _CHANNELS = 64, 32  # of a program: what fits the registers of an H100 without spilling


def fused_window_attention(values: Tensor, attention: Tensor) -> Tensor:
    """Equal :func:`~condseg_monai.networks.ops.local_attention.window_attention` within rounding, on CUDA.

    Sums are in float32, whatever the types of the inputs. Can be differentiated once.

    Args:
        values: ``(B, C, H, W)``.
        attention: ``(B, heads, K * K, K * K, H, W)``, also of another type than ``values``.

    Returns:
        ``(B, C, H, W)``, of the type of ``values``.
    """
    output: Tensor = _FusedWindowAttention.apply(values.contiguous(), attention.contiguous())
    return output


class _FusedWindowAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, attention: Tensor) -> Tensor:
        ctx.save_for_backward(values, attention)
        return _weigh(values, attention)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        values, attention = ctx.saved_tensors
        grad = grad.contiguous()
        return _weigh(grad, attention, transposed=True), _attention_grad(grad, values, attention)


def _weigh(values: Tensor, attention: Tensor, transposed: bool = False) -> Tensor:
    """The windows of ``values`` times the attention matrix, or times its transpose, overlap-added."""
    b, c, h, w = values.shape
    heads, positions = attention.shape[1:3]
    output = torch.empty_like(values)
    strides = attention.stride()[2:4]
    blocks = (triton.cdiv(h * w, _PIXELS), triton.cdiv(c // heads, _CHANNELS), b * heads)
    if values.numel() > 0:
        _weigh_kernel[blocks](
            values,
            attention,
            output,
            c // heads,
            h,
            w,
            *(strides[::-1] if transposed else strides),
            window=_side(positions),
            pixels=_PIXELS,
            block_channels=_CHANNELS,
        )
    return output


def _attention_grad(grad: Tensor, values: Tensor, attention: Tensor) -> Tensor:
    """Per displacement the product of ``grad`` and ``values``, added over channels, taken to all windows it is of."""
    b, c, h, w = values.shape
    heads, positions = attention.shape[1:3]
    k = _side(positions)
    r, size = k // 2, 2 * k - 1
    products = values.new_zeros((b, heads, size, size, h, w), dtype=torch.float32)
    if values.numel() > 0:
        _correlate_kernel[(triton.cdiv(h * w, _PIXELS), size * size, b * heads)](
            grad, values, products, c // heads, h, w, window=k, pixels=_PIXELS, block_channels=_CHANNELS
        )
    padded = F.pad(products.to(attention.dtype), (r, r, r, r))
    result = torch.empty_like(attention)
    for p in range(k):
        for q in range(k):  # the transpose of what _fold_attention does
            top, left = 2 * r - p, 2 * r - q
            block = padded[:, :, top : top + k, left : left + k, p : p + h, q : q + w]
            result[:, :, p * k + q].view(b, heads, k, k, h, w).copy_(block)
    return result


def _side(positions: int) -> int:
    return round(positions**0.5)


@triton.jit
def _weigh_kernel(
    values: tl.tensor,
    attention: tl.tensor,
    output: tl.tensor,
    channels: int,
    h: int,
    w: int,
    stride_i: int,
    stride_j: int,
    window: tl.constexpr,
    pixels: tl.constexpr,
    block_channels: tl.constexpr,
) -> None:
    """Output ``y`` adds up, over displacements d, value ``y + d`` times the attentions of that displacement."""
    pixel = tl.program_id(0) * pixels + tl.arange(0, pixels)
    channel = tl.program_id(1) * block_channels + tl.arange(0, block_channels)
    group = tl.program_id(2).to(tl.int64)
    y, x = pixel // w, pixel % w
    maps = (group * channels + channel)[:, None] * (h * w)
    attention += group * (window * window * window * window) * (h * w)
    total = tl.zeros((block_channels, pixels), tl.float32)
    for dy in tl.static_range(1 - window, window):
        for dx in tl.static_range(1 - window, window):
            weight = tl.zeros((pixels,), tl.float32)
            # Output position i, (p, q) of its window, and value position j = i + d.
            for p in tl.static_range(max(0, -dy), min(window, window - dy)):
                for q in tl.static_range(max(0, -dx), min(window, window - dx)):
                    row, column = y - p + window // 2, x - q + window // 2
                    inside = (row >= 0) & (row < h) & (column >= 0) & (column < w) & (y < h)
                    place = (p * window + q) * stride_i + ((p + dy) * window + q + dx) * stride_j
                    weight += tl.load(attention + place + row * w + column, mask=inside, other=0).to(tl.float32)
            inside = (y + dy >= 0) & (y + dy < h) & (x + dx >= 0) & (x + dx < w) & (y < h)
            inside = (channel < channels)[:, None] & inside[None, :]
            value = tl.load(values + maps + (pixel + dy * w + dx)[None, :], mask=inside, other=0)
            total += weight[None, :] * value.to(tl.float32)
    inside = (channel < channels)[:, None] & (y < h)[None, :]
    tl.store(output + maps + pixel[None, :], total.to(output.dtype.element_ty), mask=inside)


@triton.jit
def _correlate_kernel(
    grad: tl.tensor,
    values: tl.tensor,
    products: tl.tensor,
    channels: int,
    h: int,
    w: int,
    window: tl.constexpr,
    pixels: tl.constexpr,
    block_channels: tl.constexpr,
) -> None:
    """Gradient of displacement d's weight at ``y``: ``grad`` at ``y`` times the value at ``y + d``, over channels."""
    pixel = tl.program_id(0) * pixels + tl.arange(0, pixels)
    displacement = tl.program_id(1)
    group = tl.program_id(2).to(tl.int64)
    y, x = pixel // w, pixel % w
    size: tl.constexpr = 2 * window - 1
    dy, dx = displacement // size - (window - 1), displacement % size - (window - 1)
    inside = (y + dy >= 0) & (y + dy < h) & (x + dx >= 0) & (x + dx < w) & (y < h)
    total = tl.zeros((pixels,), tl.float32)
    for start in range(0, channels, block_channels):
        channel = start + tl.arange(0, block_channels)
        maps = (group * channels + channel)[:, None] * (h * w)
        mask = (channel < channels)[:, None] & inside[None, :]
        first = tl.load(grad + maps + pixel[None, :], mask=mask, other=0).to(tl.float32)
        second = tl.load(values + maps + (pixel + dy * w + dx)[None, :], mask=mask, other=0).to(tl.float32)
        total += tl.sum(first * second, axis=0)
    place = (group * (size * size) + displacement) * (h * w)
    tl.store(products + place + pixel, total, mask=y < h)
