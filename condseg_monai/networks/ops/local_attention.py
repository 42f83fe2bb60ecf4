"""Attention in windows (Eq. 11, 13, 14 of ConDSeg), computed as one small kernel per pixel."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["compose_attention", "plain_window_attention", "window_attention"]


def plain_window_attention(values: Tensor, attention: Tensor) -> Tensor:
    """Reference for :func:`window_attention`: unfold, multiply and fold, as the paper has it."""
    b, c, h, w = values.shape
    heads, positions = attention.shape[1], attention.shape[2]
    k = round(positions**0.5)
    windows = F.unfold(values, k, padding=k // 2).view(b, heads, c // heads, positions, h * w)
    weighted = torch.einsum("bgijn,bgcjn->bgcin", attention.flatten(4), windows)
    return F.fold(weighted.reshape(b, c * positions, h * w), (h, w), k, padding=k // 2)


def window_attention(values: Tensor, attention: Tensor) -> Tensor:
    """Unfold into ``K x K`` windows, multiply each window by its attention matrix, and overlap-add (Eq. 11, 13, 14).

    Each output pixel is a weighted sum of the ``(2K - 1) x (2K - 1)`` values around it, weighted by the overlap-added
    attention. So the attention is folded, ``K**4`` maps per head, not ``K**2 * channels``, and no window is stored.

    Args:
        values: ``(B, C, H, W)``; values outside the image are zero.
        attention: ``(B, heads, K * K, K * K, H, W)``; entry ``[:, :, i, j]`` weighs window position ``j`` for output
            ``i``, positions row-major from the top left. ``heads`` divides ``C``, and each serves one contiguous group
            of channels.

    Returns:
        ``(B, C, H, W)``; what would be added outside the image is dropped.
    """
    values = values.contiguous()
    kernel = _fold_attention(attention.to(values.dtype))
    # Compilers and exporters make a backward pass of their own, or want none.
    if torch.jit.is_scripting() or torch.jit.is_tracing() or torch.compiler.is_compiling():
        return _apply_kernel(values, kernel)
    return _differentiable(values, kernel)


def compose_attention(first: Tensor, second: Tensor) -> Tensor:
    """Matrix product over the window positions of two ``(B, heads, P, P, H, W)`` attentions: ``second`` acts first."""
    product = first[:, :, :, 0].unsqueeze(3) * second[:, :, 0].unsqueeze(2)
    for m in range(1, first.shape[2]):
        product = torch.addcmul(product, first[:, :, :, m].unsqueeze(3), second[:, :, m].unsqueeze(2))
    return product


def _fold_attention(attention: Tensor) -> Tensor:
    """Overlap-add ``(B, heads, K * K, K * K, H, W)`` attention into ``(B, heads, 2K - 1, 2K - 1, H, W)`` kernels.

    The window centred at ``y - o_i`` adds ``attention[i, j]`` times the value at ``y - o_i + o_j`` to output ``y``, so
    it belongs to the kernel's displacement ``o_j - o_i``; for one ``i`` those displacements are a ``K x K`` block.
    """
    b, heads, positions, _, h, w = attention.shape
    k = int(positions**0.5 + 0.5)
    r = k // 2
    # No window is centred outside the image: a shifted map is zero where it would come from there.
    padded = F.pad(attention.reshape(b, heads * positions * positions, h, w), (r, r, r, r))
    padded = padded.view(b, heads, k, k, k, k, h + 2 * r, w + 2 * r)
    kernel = attention.new_zeros((b, heads, 2 * k - 1, 2 * k - 1, h, w))
    for p in range(k):
        for q in range(k):
            top, left = k - 1 - p, k - 1 - q
            block = padded[:, :, p, q, :, :, top : top + h, left : left + w]
            # ONNX has no sum in place: writing into a slice takes it four times the operations.
            kernel = kernel + F.pad(block, (0, 0, 0, 0, left, q, top, p))
    return kernel


def _apply_kernel(values: Tensor, kernel: Tensor) -> Tensor:
    """Weigh the neighbourhood of each pixel of ``(B, C, H, W)`` by its own ``(B, heads, S, S, H, W)`` kernel."""
    b, c, h, w = values.shape
    heads, size = kernel.shape[1], kernel.shape[2]
    r = size // 2
    padded = F.pad(values, (r, r, r, r)).view(b, heads, c // heads, h + 2 * r, w + 2 * r)
    out = values.new_zeros((b, heads, c // heads, h, w))
    for p in range(size):
        for q in range(size):
            out.addcmul_(kernel[:, :, p, q].unsqueeze(2), padded[:, :, :, p : p + h, q : q + w])
    return out.view(b, c, h, w)


@torch.jit.unused
def _differentiable(values: Tensor, kernel: Tensor) -> Tensor:
    output: Tensor = _PixelKernel.apply(values, kernel)
    return output


class _PixelKernel(torch.autograd.Function):
    """:func:`_apply_kernel` with a backward pass that stores the two inputs only, not one product per displacement."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, kernel: Tensor) -> Tensor:
        ctx.save_for_backward(values, kernel)
        return _apply_kernel(values, kernel)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        values, kernel = ctx.saved_tensors
        b, c, h, w = values.shape
        heads, size = kernel.shape[1], kernel.shape[2]
        r = size // 2
        grad = grad.reshape(b, heads, c // heads, h, w)
        padded = F.pad(values, (r, r, r, r)).view(b, heads, c // heads, h + 2 * r, w + 2 * r)
        grad_padded, grad_kernel = torch.zeros_like(padded), torch.zeros_like(kernel)
        for p in range(size):
            for q in range(size):
                rows, columns = slice(p, p + h), slice(q, q + w)
                grad_kernel[:, :, p, q] = (grad * padded[:, :, :, rows, columns]).sum(dim=2)
                grad_padded[:, :, :, rows, columns].addcmul_(kernel[:, :, p, q].unsqueeze(2), grad)
        return grad_padded[:, :, :, r : r + h, r : r + w].reshape(b, c, h, w), grad_kernel
