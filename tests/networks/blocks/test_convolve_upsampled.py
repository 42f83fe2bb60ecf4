"""Convolving maps as they come gives what convolving them enlarged and joined gives."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import PeakTensorBytes
from condseg_monai.networks.blocks import convolve_upsampled, upsample

SHAPES = {  # size of the output, factors, channels of each map, size of the kernel
    "one map": ((10, 14), (2,), (3,), 3),
    "a single row": ((2, 40), (2,), (3,), 3),
    "a single pixel": ((4, 4), (4,), (2,), 3),
    "more than a tile": ((72, 40), (2,), (3,), 3),
    "not whole tiles": ((34, 58), (2,), (3,), 3),
    "three maps": ((20, 36), (1, 2, 4), (2, 3, 4), 3),
    "the larger last": ((12, 8), (2, 1), (2, 3), 3),
    "a larger kernel": ((36, 24), (3,), (2,), 5),
    "a kernel larger than the map": ((3, 6), (3,), (2,), 7),
    "a pointwise kernel": ((20, 36), (2, 1), (2, 3), 1),
}


def make(name: str, dtype: torch.dtype = torch.float64) -> tuple[list[torch.Tensor], tuple[int, ...], torch.Tensor]:
    (height, width), factors, channels, size = SHAPES[name]
    generator = torch.Generator().manual_seed(0)
    maps = [
        torch.randn(2, c, height // f, width // f, dtype=dtype, generator=generator)
        for c, f in zip(channels, factors, strict=True)
    ]
    return maps, factors, torch.randn(5, sum(channels), size, size, dtype=dtype, generator=generator)


def as_written(maps, factors, weight, bias=None) -> torch.Tensor:
    joined = torch.cat([upsample(x, factor) for x, factor in zip(maps, factors, strict=True)], dim=1)
    return F.conv2d(joined, weight, bias, padding=weight.shape[2] // 2)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("name", list(SHAPES))
def test_values_and_gradients_are_those_of_enlarging_first(name, with_bias, memory_format):
    maps, factors, weight = make(name)
    inputs = [x.to(memory_format=memory_format) for x in (*maps, weight)]
    inputs += [torch.randn(5, dtype=torch.float64)] if with_bias else []
    results = []
    for convolve in (convolve_upsampled, as_written):
        own = [x.clone().requires_grad_() for x in inputs]
        output = convolve(own[: len(maps)], factors, *own[len(maps) :])
        (output * output.detach().sin()).sum().backward()
        results.append([output, *(x.grad for x in own)])
        with torch.no_grad():
            results[-1].append(convolve(own[: len(maps)], factors, *own[len(maps) :]))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    assert results[0][0].is_contiguous(memory_format=torch.channels_last)


def test_gradients_pass_gradcheck():
    maps, factors, weight = make("the larger last")
    bias = torch.randn(5, dtype=torch.float64, requires_grad=True)
    inputs = [x.requires_grad_() for x in (*maps, weight)]
    assert torch.autograd.gradcheck(lambda a, b, w, c: convolve_upsampled([a, b], factors, w, c), (*inputs, bias))


@pytest.mark.parametrize("needed", list(itertools.product([False, True], repeat=4))[1:])
def test_only_the_gradients_that_are_asked_for_are_given(needed):
    maps, factors, weight = make("the larger last")
    inputs = [*maps, weight, torch.randn(5, dtype=torch.float64)]
    for x, need in zip(inputs, needed, strict=True):
        x.requires_grad_(need)
    wanted = [x for x in inputs if x.requires_grad]
    ours = torch.autograd.grad(convolve_upsampled(inputs[:2], factors, *inputs[2:]).square().sum(), wanted)
    theirs = torch.autograd.grad(as_written(inputs[:2], factors, *inputs[2:]).square().sum(), wanted)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_float32_is_as_exact_as_convolving_the_enlarged_map():
    torch.manual_seed(0)
    x, weight = torch.randn(1, 64, 32, 32), torch.randn(64, 64, 3, 3) / 24
    exact = as_written([x.double()], (2,), weight.double())
    ours = (convolve_upsampled([x], (2,), weight) - exact).abs().max()
    theirs = (as_written([x], (2,), weight) - exact).abs().max()
    assert ours < 3 * theirs < 1e-4


def test_an_image_does_not_depend_on_its_neighbours():
    maps, factors, weight = make("three maps", torch.float32)
    together = convolve_upsampled(maps, factors, weight)
    alone = convolve_upsampled([x[1:] for x in maps], factors, weight)
    torch.testing.assert_close(together[1:], alone)


def test_a_quarter_of_the_operations_and_no_enlarged_map():
    x = torch.rand(1, 64, 64, 64, device="meta")
    weight = torch.rand(64, 64, 3, 3, device="meta")
    operations = []
    for convolve in (convolve_upsampled, as_written):
        with FlopCounterMode(display=False) as counter:
            convolve([x], (2,), weight)
        operations.append(counter.get_total_flops())
    assert operations[0] < 0.5 * operations[1]
    with PeakTensorBytes() as tensors:
        output = convolve_upsampled([x], (2,), weight)
    assert tensors.peak < 3 * output.nbytes, "the nine products as a whole are 2.25 times the output"
