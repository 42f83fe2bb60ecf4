"""CDFA's attention in windows, Eq. 11, 13 and 14: unfold, weigh and overlap-add, but windows are never stored."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from condseg_monai.networks.once_differentiable import once_differentiable

__all__ = ["compose_attention", "window_attention"]

_NUMBERS_AT_A_TIME = 2**19
"""Numbers of a map that are computed at a time: few enough to stay in the processor's cache."""


def window_attention(values: Tensor, attention: Tensor) -> Tensor:
    """Unfold into ``K x K`` windows, multiply each window by its attention matrix, and overlap-add (Eq. 11, 13, 14).

    Windows are never stored. Each output pixel is a weighted sum of the ``(2K - 1) x (2K - 1)`` values around it, and
    the weights are the overlap-added attention itself, so that is what is folded: ``K**4`` maps per head, not
    ``K**2 * channels``.

    Args:
        values: ``(B, C, H, W)``; values outside the image are zero.
        attention: ``(B, heads, K * K, K * K, H, W)``; entry ``[:, :, i, j]`` weighs window position ``j`` for output
            ``i``, positions row-major from the top left. ``heads`` divides ``C``, and each serves one contiguous group
            of channels.

    Returns:
        ``(B, C, H, W)``; what would be added outside the image is dropped. It can be differentiated once.
    """
    values = values.contiguous()
    if not torch.jit.is_scripting():  # noqa: SIM102 TorchScript compiles whatever stands beside it
        if _has_own_backward(values, attention):
            return _PixelKernel.apply(values, _FoldAttention.apply(attention.to(values.dtype)))
    return _apply_kernel(values, _fold_attention(attention.to(values.dtype)))


def compose_attention(first: Tensor, second: Tensor) -> Tensor:
    """Matrix product over the window positions of two ``(B, heads, P, P, H, W)`` attentions: ``second`` acts first."""
    if not torch.jit.is_scripting():  # noqa: SIM102 TorchScript compiles whatever stands beside it
        if _has_own_backward(first, second):
            return _Compose.apply(first, second)
    return _multiply(first, second)


def _has_own_backward(a: Tensor, b: Tensor) -> bool:
    """Whether gradients are wanted, but not under a compiler, which makes its own, or a tracer, which loses ours."""
    if torch.jit.is_tracing() or torch.compiler.is_compiling():
        return False
    return torch.is_grad_enabled() and (a.requires_grad or b.requires_grad)


def _multiply(first: Tensor, second: Tensor) -> Tensor:
    product = first[:, :, :, 0].unsqueeze(3) * second[:, :, 0].unsqueeze(2)
    for m in range(1, first.shape[2]):
        product.addcmul_(first[:, :, :, m].unsqueeze(3), second[:, :, m].unsqueeze(2))
    return product


class _Compose(torch.autograd.Function):
    """:func:`_multiply` with a backward pass that stores the two factors only."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor) -> Tensor:
        ctx.save_for_backward(first, second)
        return _multiply(first, second)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        first, second = ctx.saved_tensors
        grad_first, grad_second = torch.empty_like(first), torch.empty_like(second)
        for m in range(first.shape[2]):
            torch.sum(grad * second[:, :, m].unsqueeze(2), dim=3, out=grad_first[:, :, :, m])
            torch.sum(grad * first[:, :, :, m].unsqueeze(3), dim=2, out=grad_second[:, :, m])
        return grad_first, grad_second


def _fold_attention(attention: Tensor) -> Tensor:
    """Overlap-add ``(B, heads, K * K, K * K, H, W)`` attention into ``(B, heads, 2K - 1, 2K - 1, H, W)`` kernels.

    The window centred at ``y - o_i`` adds ``attention[i, j]`` times the value at ``y - o_i + o_j`` to output ``y``, so
    it belongs to the kernel's displacement ``o_j - o_i``; for one ``i`` those displacements are a ``K x K`` block.
    """
    b, heads, positions, _, h, w = attention.shape
    k = math.isqrt(positions) if not torch.jit.is_scripting() else int(math.sqrt(positions) + 0.5)
    r = k // 2
    # No window is centred outside the image: a shifted map is zero where it would come from there.
    padded = F.pad(attention.reshape(b, heads * positions * positions, h, w), (r, r, r, r))
    padded = padded.view(b, heads, k, k, k, k, h + 2 * r, w + 2 * r)
    kernel = attention.new_zeros((b, heads, 2 * k - 1, 2 * k - 1, h, w))
    for p in range(k):
        for q in range(k):
            top, left = 2 * r - p, 2 * r - q
            kernel[:, :, top : top + k, left : left + k] += padded[:, :, p, q, :, :, top : top + h, left : left + w]
    return kernel


class _FoldAttention(torch.autograd.Function):
    """:func:`_fold_attention` with a backward pass that copies blocks; autograd would add up one zero map for each."""

    @staticmethod
    def forward(ctx: Any, attention: Tensor) -> Tensor:
        ctx.shape = attention.shape
        return _fold_attention(attention)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        b, heads, positions, _, h, w = ctx.shape
        k = math.isqrt(positions)
        r = k // 2
        grad_attention = grad.new_zeros((b, heads, k, k, k, k, h, w))
        for p in range(k):
            for q in range(k):
                block = grad[:, :, 2 * r - p : 2 * r - p + k, 2 * r - q : 2 * r - q + k]
                rows, columns = _overlap(p - r, h), _overlap(q - r, w)
                grad_attention[:, :, p, q, :, :, rows[0], columns[0]] = block[..., rows[1], columns[1]]
        return grad_attention.view(ctx.shape)


def _overlap(shift: int, size: int) -> tuple[slice, slice]:
    """The positions ``x`` with ``x + shift`` inside a line of ``size``, and those ``x + shift``."""
    count = max(0, size - abs(shift))
    first = max(0, -shift)
    return slice(first, first + count), slice(first + shift, first + shift + count)


def _apply_kernel(values: Tensor, kernel: Tensor) -> Tensor:
    """Weigh the neighbourhood of each pixel of ``(B, C, H, W)`` by its own ``(B, heads, S, S, H, W)`` kernel."""
    b, c, h, w = values.shape
    heads, size = kernel.shape[1], kernel.shape[2]
    r = size // 2
    padded = F.pad(values, (r, r, r, r)).view(b, heads, c // heads, h + 2 * r, w + 2 * r)
    out = values.new_zeros((b, heads, c // heads, h, w))
    if torch.jit.is_scripting() or torch.jit.is_tracing() or torch.compiler.is_compiling():
        _add_neighbours(out, padded, kernel)
    else:
        for rows, around in _row_strips(values, size):
            _add_neighbours(out[:, :, :, rows], padded[:, :, :, around], kernel[:, :, :, :, rows])
    return out.view(b, c, h, w)


def _add_neighbours(out: Tensor, padded: Tensor, kernel: Tensor) -> None:
    h, w = out.shape[3], out.shape[4]
    for p in range(kernel.shape[2]):
        for q in range(kernel.shape[3]):
            out.addcmul_(kernel[:, :, p, q].unsqueeze(2), padded[:, :, :, p : p + h, q : q + w])


def _row_strips(values: Tensor, size: int) -> list[tuple[slice, slice]]:
    """Strips of rows of ``(B, C, H, W)`` that fit into the cache, and the rows of the padded map that each needs."""
    b, c, h, w = values.shape
    step = max(1, _NUMBERS_AT_A_TIME // max(1, b * c * w)) if values.device.type == "cpu" else h
    return [(slice(top, min(top + step, h)), slice(top, min(top + step, h) + size - 1)) for top in range(0, h, step)]


class _PixelKernel(torch.autograd.Function):
    """:func:`_apply_kernel` with a backward pass that stores the two inputs only, not one product per displacement."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, kernel: Tensor) -> Tensor:
        ctx.save_for_backward(values, kernel)
        return _apply_kernel(values, kernel)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        values, kernel = ctx.saved_tensors
        b, c, h, w = values.shape
        heads, size = kernel.shape[1], kernel.shape[2]
        r = size // 2
        grad = grad.contiguous().view(b, heads, c // heads, h, w)
        padded = F.pad(values, (r, r, r, r)).view(b, heads, c // heads, h + 2 * r, w + 2 * r)
        grad_padded = torch.zeros_like(padded)
        grad_kernel = torch.empty_like(kernel)
        for rows, around in _row_strips(values, size):
            part, weights, slope = grad[:, :, :, rows], kernel[:, :, :, :, rows], grad_kernel[:, :, :, :, rows]
            near, grad_near = padded[:, :, :, around], grad_padded[:, :, :, around]
            height = part.shape[3]
            for p in range(size):
                for q in range(size):
                    slope[:, :, p, q] = (part * near[:, :, :, p : p + height, q : q + w]).sum(dim=2)
                    grad_near[:, :, :, p : p + height, q : q + w].addcmul_(weights[:, :, p, q].unsqueeze(2), part)
        return grad_padded[:, :, :, r : r + h, r : r + w].reshape(b, c, h, w), grad_kernel
