"""The Triton kernel of window attention against the plain operations: in Triton's interpreter without a GPU."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from condseg_monai.networks.blocks.cdfa import ContrastDrivenFeatureAggregation
from condseg_monai.networks.ops.local_attention import window_attention

fused = pytest.importorskip("condseg_monai.networks.ops.fused_attention", reason="needs Triton", exc_type=ImportError)

ON_GPU = torch.cuda.is_available()
DEVICES = [
    pytest.param("cpu", marks=pytest.mark.skipif(ON_GPU, reason="Triton's interpreter is for machines without a GPU")),
    pytest.param(
        "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not ON_GPU, reason="needs a CUDA device")], id="cuda"
    ),
]


def inputs(device, size, heads=1, k=3, channels=6):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, channels, *size, generator=generator)
    attention = torch.randn(2, heads, k * k, k * k, *size, generator=generator).softmax(dim=3)
    return values.to(device), attention.to(device)


def value_and_gradients(function, values, attention):
    values, attention = values.clone().requires_grad_(), attention.clone().requires_grad_()
    output = function(values, attention)
    return [output, *torch.autograd.grad(output.float().square().sum(), (values, attention))]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("k", "heads", "size"),
    [
        (1, 1, (2, 3)),
        (3, 1, (9, 10)),
        pytest.param(3, 2, (1, 5), marks=pytest.mark.slow),
        pytest.param(5, 1, (1, 1), marks=pytest.mark.slow),
    ],
)
def test_values_and_gradients_are_those_of_the_plain_operations(device, k, heads, size):
    values, attention = inputs(device, size, heads, k)
    expected = value_and_gradients(window_attention, values.double(), attention.double())
    found = value_and_gradients(fused.fused_window_attention, values, attention)
    torch.testing.assert_close([x.double() for x in found], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once_and_attention_may_stay_in_float32(device, dtype):
    values, attention = inputs(device, (3, 2), channels=40)
    expected = value_and_gradients(window_attention, values.to(dtype).double(), attention.double())
    found = value_and_gradients(fused.fused_window_attention, values.to(dtype), attention)
    assert [x.dtype for x in found] == [dtype, dtype, torch.float32]
    rounding = 2 * torch.finfo(dtype).eps
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x.double(), y, rtol=rounding, atol=rounding * y.abs().max().item())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", ["paper", pytest.param("released", marks=pytest.mark.slow)])
def test_cdfa_computes_the_same_with_it(device, form):
    torch.manual_seed(0)
    block = ContrastDrivenFeatureAggregation(8, 8, form=form).to(device)
    x, foreground, background = torch.randn(3, 1, 8, 2, 3, device=device)
    results = []
    for block.fused in (False, True):
        output = block(x, foreground, background)
        results.append([output, *torch.autograd.grad(output.square().sum(), tuple(block.parameters()))])
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-3)


def test_a_batch_of_nothing_gives_nothing():
    assert fused.fused_window_attention(torch.zeros(0, 4, 3, 3), torch.zeros(0, 1, 9, 9, 3, 3)).shape == (0, 4, 3, 3)


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from condseg_monai.networks.ops import fused_attention as fused
sizes = {"window": 3, "pixels": 64, "block_channels": 32}
for kernel in (fused._weigh_kernel, fused._correlate_kernel):
    types = {name: "constexpr" if name in sizes else "i32" for name in kernel.arg_names}
    types.update({name: "*fp16" for name in ("values", "output", "grad") if name in types})
    types.update({name: "*fp32" for name in ("attention", "products") if name in types})
    code = triton.compile(ASTSource(kernel, types, sizes), target=GPUTarget("cuda", 90, 32)).asm
    assert code["cubin"]
"""


@pytest.mark.slow
def test_kernels_compile_for_an_h100_without_one():
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    subprocess.run([sys.executable, "-c", COMPILE], env=environment, check=True)
