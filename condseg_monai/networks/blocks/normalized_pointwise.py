"""A 1x1 convolution of a normalised and activated map; in training that map never exists as a whole."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from condseg_monai.networks.lean import compute_once
from condseg_monai.networks.once_differentiable import once_differentiable

__all__ = ["normalized_pointwise"]

_STRIP = 4096
"""Pixels that are computed at a time: few enough that what is made on the way stays in the processor's cache."""


def normalized_pointwise(x: Tensor, adn: nn.Module, conv: nn.Module) -> Tensor:
    """``conv(adn(x))`` for a 1x1 convolution, where :func:`~condseg_monai.networks.lean.is_lean`.

    On a CPU in float32 or float64, with a BatchNorm that trains and a ReLU, ``x`` alone is kept, and the normalised map
    and the gradients on the way to ``x`` are made some pixels at a time. The modules are not called then: their hooks
    would not run, and mixed precision would not apply, but a lean block has neither. Otherwise the two are simply
    called.

    It can be differentiated once, backwards.

    Args:
        x: ``(B, C, H, W)``.
        adn: MONAI's ``ADN``: normalisation and activation.
        conv: an ``nn.Conv2d`` from C channels; a module of another kind is called.

    Returns:
        ``(B, out_channels, H, W)``: ``conv(adn(x))`` up to rounding. Running statistics are updated.
    """
    if _can_fuse(x, adn) and _is_pointwise(conv):
        return _fused(x, adn.get_submodule("N"), conv)
    output: Tensor = conv(adn(x))
    return output


def _can_fuse(x: Tensor, adn: nn.Module) -> bool:
    if x.device.type not in ("cpu", "meta") or x.dtype not in (torch.float32, torch.float64):
        return False
    if [type(layer) for layer in adn.children()] != [nn.BatchNorm2d, nn.ReLU]:
        return False
    norm = adn.get_submodule("N")
    assert isinstance(norm, nn.BatchNorm2d)
    if not norm.training or not norm.affine or not norm.track_running_stats or norm.momentum is None:
        return False
    return x.numel() > x.shape[1]  # one pixel has no variance: let the BatchNorm raise


def _is_pointwise(conv: nn.Module) -> bool:
    # Not a subclass: what its forward does is its own.
    return type(conv) is nn.Conv2d and (conv.kernel_size, conv.stride, conv.padding, conv.groups) == (
        (1, 1),
        (1, 1),
        (0, 0),
        1,
    )


def _fused(x: Tensor, norm: nn.Module, conv: nn.Module) -> Tensor:
    assert isinstance(norm, nn.BatchNorm2d) and isinstance(conv, nn.Conv2d)
    x = x.contiguous(memory_format=torch.channels_last)
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    with torch.no_grad():
        mean, variance = _update_statistics(x, norm)
    output: Tensor = _NormalizedPointwise.apply(
        x, norm.weight, norm.bias, conv.weight, conv.bias, mean, (variance + norm.eps).rsqrt()
    )
    return output


def _update_statistics(x: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Mean and variance of the batch, which move the running ones."""
    if x.is_meta:  # there is no kernel for tensors without values
        return x.new_empty(x.shape[1]), x.new_empty(x.shape[1])
    assert norm.momentum is not None
    return torch.batch_norm_update_stats(x, norm.running_mean, norm.running_var, norm.momentum)


class _NormalizedPointwise(torch.autograd.Function):
    """``conv(relu((x - mean) * inverse * scale + shift))``, where mean and inverse deviation are those of ``x``."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor,
        shift: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        mean: Tensor,
        inverse: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(x, scale, shift, weight, mean, inverse)
        return compute_once(lambda: _convolve(x, scale * inverse, shift, weight, bias, mean))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, shift, weight, mean, inverse = ctx.saved_tensors
        factor = scale * inverse
        matrix = weight.flatten(1)
        grad_x = torch.empty_like(x)
        grad_matrix = torch.zeros_like(matrix)
        grad_shift, grad_factor = torch.zeros_like(shift), torch.zeros_like(factor)
        grad = grad.contiguous(memory_format=torch.channels_last)
        for pixels, result, slope in zip(_strips(x), _strips(grad_x), _strips(grad), strict=True):
            centred = pixels - mean
            hidden = torch.addcmul(shift, centred, factor).relu_()
            grad_matrix.addmm_(slope.T, hidden)
            torch.mm(slope, matrix, out=result)
            result.mul_(hidden.sign_())  # the slope of a ReLU
            grad_shift += result.sum(dim=0)
            grad_factor += centred.mul_(result).sum(dim=0)
        # The batch's mean and deviation depend on each pixel, too.
        count = x.numel() // x.shape[1]
        tilt = -factor * inverse.square() * grad_factor / count
        offset = -factor * grad_shift / count
        for pixels, result in zip(_strips(x), _strips(grad_x), strict=True):
            result.mul_(factor).add_(offset).addcmul_(pixels - mean, tilt)
        grad_bias = grad.sum(dim=(0, 2, 3)) if ctx.needs_input_grad[4] else None
        return grad_x, grad_factor * inverse, grad_shift, grad_matrix.view_as(weight), grad_bias, None, None


def _convolve(x: Tensor, factor: Tensor, shift: Tensor, weight: Tensor, bias: Tensor | None, mean: Tensor) -> Tensor:
    b, _, h, w = x.shape
    matrix = weight.flatten(1).T
    output = x.new_empty((b, h, w, len(weight))).permute(0, 3, 1, 2)  # channels_last
    for pixels, result in zip(_strips(x), _strips(output), strict=True):
        hidden = torch.addcmul(shift, pixels - mean, factor).relu_()
        if bias is None:
            torch.mm(hidden, matrix, out=result)
        else:
            torch.addmm(bias, hidden, matrix, out=result)
    return output


def _strips(x: Tensor) -> tuple[Tensor, ...]:
    """Views ``(pixels, channels)`` of a map in ``channels_last`` format."""
    return x.permute(0, 2, 3, 1).view(-1, x.shape[1]).split(_STRIP)
