"""What cannot be differentiated twice says so, and what to do about it."""

from __future__ import annotations

import pytest
import torch

from condseg_monai.networks.blocks import AuxiliaryHead, UpsampledConv2d, convolve_upsampled, window_attention
from condseg_monai.networks.once_differentiable import once_differentiable


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 3 * x**2


def attend(x):
    return window_attention(x, torch.ones(1, 1, 9, 9, 4, 4))


def convolve(x):
    return convolve_upsampled([x], [2], torch.ones(1, 1, 3, 3))


@pytest.mark.parametrize("function", [Cube.apply, attend, convolve])
def test_a_second_derivative_is_refused_even_of_a_sum(function):
    x = torch.ones(1, 1, 4, 4, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"can be differentiated once.*low_resolution = False"):
        torch.autograd.grad(function(x).sum(), x, create_graph=True)


def test_the_first_derivative_is_that_of_the_function():
    x = torch.rand(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Cube.apply, x)
    (gradient,) = torch.autograd.grad(Cube.apply(x).sum(), x)
    assert not gradient.requires_grad


def test_what_the_message_advises_helps():
    torch.manual_seed(0)
    head, x = AuxiliaryHead(64, 16), torch.rand(1, 64, 2, 2, requires_grad=True)
    with pytest.raises(RuntimeError, match="set lean = False on every LeanModule"):
        torch.autograd.grad(head(x).sum(), x, create_graph=True)
    head.lean = False
    with pytest.raises(RuntimeError, match="_ConvolveUpsampled"):
        torch.autograd.grad(head(x).sum(), x, create_graph=True)
    for module in head.modules():
        if isinstance(module, UpsampledConv2d):
            module.low_resolution = False
    (gradient,) = torch.autograd.grad(head(x).sum(), x, create_graph=True)
    gradient.square().sum().backward()
    assert head.convs[0].conv.weight.grad.abs().max() > 0
