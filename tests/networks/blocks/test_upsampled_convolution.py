"""Convolving maps as they come gives what convolving them enlarged and joined gives."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from monai.networks.blocks import Convolution
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import PeakTensorBytes
from condseg_monai.networks.blocks import (
    UpsampledConv2d,
    UpsampledConvolution,
    convolve_upsampled,
    upsample,
    upsampled_convolution,
)
from condseg_monai.networks.lean import LeanModule

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


@pytest.fixture
def block():
    torch.manual_seed(0)
    return UpsampledConvolution(130, 64)


@pytest.fixture
def maps():
    torch.manual_seed(1)
    return [torch.rand(2, 65, 20, 12), torch.rand(2, 65, 10, 6)]


def test_block_has_the_names_and_draws_of_a_convolution(block):
    torch.manual_seed(0)
    other = Convolution(2, 130, 64, bias=False, adn_ordering="NA", norm="batch", act="relu")
    after = torch.rand(1)
    assert list(block.state_dict()) == list(other.state_dict())
    for ours, theirs in zip(block.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    torch.manual_seed(0)
    UpsampledConvolution(130, 64)
    assert torch.equal(torch.rand(1), after)


def count(function):
    """What ``convolve_upsampled`` is recognised by: it makes batched products, and no enlarged map."""
    with torch.profiler.profile() as profile:
        function()
    return {event.key: event.count for event in profile.key_averages()}


def test_block_takes_the_short_way_and_gives_the_same(block, maps):
    block.eval()
    operations = count(lambda: block(maps, [1, 2]))
    assert operations.get("aten::bmm", 0) > 0 and operations.get("aten::upsample_bilinear2d", 0) == 0
    short = block(maps, [1, 2])
    block.conv.low_resolution = False
    operations = count(lambda: block(maps, [1, 2]))
    assert operations.get("aten::bmm", 0) == 0 and operations.get("aten::upsample_bilinear2d", 0) == 1
    torch.testing.assert_close(short, block(maps, [1, 2]))


@pytest.mark.parametrize("case", ["narrow maps", "few outputs", "mixed precision", "bfloat16", "nothing to enlarge"])
def test_where_nothing_would_be_gained_maps_are_enlarged(case, block, maps):
    factors = [1, 2]
    if case == "narrow maps":
        block, maps = UpsampledConvolution(64, 64), [x[:, :32] for x in maps]
    if case == "few outputs":
        block = UpsampledConvolution(130, 32)
    if case == "bfloat16":
        block, maps = block.bfloat16(), [x.bfloat16() for x in maps]
    if case == "nothing to enlarge":
        maps, factors = [upsample(x, factor) for x, factor in zip(maps, factors, strict=True)], [1, 1]
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "mixed precision"):
        assert count(lambda: block(maps, factors)).get("aten::bmm", 0) == 0


def test_a_pointwise_convolution_comes_before_the_enlarging(maps):
    torch.manual_seed(0)
    block = UpsampledConvolution(130, 8, kernel_size=1, bias=True).double().eval()
    maps = [x.double() for x in maps]
    seen = []

    def look(module, inputs, output):
        seen.append(output.shape)

    block.conv.register_forward_hook(look)
    expected = block.adn(as_written(maps, (1, 2), block.conv.weight, block.conv.bias))
    torch.testing.assert_close(block(maps, [1, 2]), expected)
    with FlopCounterMode(display=False) as counter:
        block(maps, [1, 2])
    assert counter.get_total_flops() == 2 * 2 * 65 * 8 * (20 * 12 + 10 * 6)
    assert seen[0] == (2, 8, 20, 12)


def test_traced_scripted_and_exported_blocks_serve_other_sizes(block, maps):
    block.eval()
    others = [torch.rand(1, 65, 8, 16), torch.rand(1, 65, 4, 8)]
    expected = block(others, [1, 2])
    scripted = torch.jit.script(block)
    torch.testing.assert_close(scripted(others, [1, 2]), expected)

    class Both(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = block

        def forward(self, x, deeper):
            return self.block([x, deeper], [1, 2])

    traced = torch.jit.trace(Both(), tuple(maps))
    torch.testing.assert_close(traced(*others), expected)
    height, width = torch.export.Dim("height", min=2), torch.export.Dim("width", min=2)
    sizes = {"x": {2: 2 * height, 3: 2 * width}, "deeper": {2: height, 3: width}}
    exported = torch.export.export(Both(), tuple(x[:1] for x in maps), dynamic_shapes=sizes)
    torch.testing.assert_close(exported.module()(*others), expected)


class Head(LeanModule):
    def __init__(self) -> None:
        super().__init__()
        self.first = UpsampledConvolution(64, 64)
        self.second = UpsampledConvolution(64, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second([self.first([x], [2])], [2])


def test_lean_training_computes_and_keeps_each_convolution_once(monkeypatch):
    computed = []

    def convolve_map(*arguments):
        computed.append(arguments[0].shape)
        return original(*arguments)

    original = upsampled_convolution._convolve_map
    monkeypatch.setattr(upsampled_convolution, "_convolve_map", convolve_map)
    torch.manual_seed(0)
    head, image = Head(), torch.rand(1, 64, 8, 8, requires_grad=True)
    with PeakTensorBytes() as tensors:
        output = head(image)
    kept = 64 * (16 * 16 + 32 * 32) * 4
    assert tensors.now < kept + 2 * output.nbytes + 1e5, "the last normalised and activated, and weights of tiles"
    output.square().mean().backward()
    assert computed == [(1, 64, 8, 8), (1, 64, 16, 16)]
    lean = [parameter.grad.clone() for parameter in head.parameters()] + [image.grad.clone()]
    statistics = [buffer.clone() for buffer in head.buffers()]
    torch.manual_seed(0)
    head, other = Head(), image.detach().requires_grad_()
    head.lean = False
    head(other).square().mean().backward()
    for ours, theirs in zip(lean, [*(parameter.grad for parameter in head.parameters()), other.grad], strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(statistics, head.buffers(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_plain_convolution_has_its_own_way():
    conv = UpsampledConv2d(3, 4, 3)
    x = torch.rand(1, 3, 5, 6)
    torch.testing.assert_close(conv([x], [1]), F.conv2d(x, conv.weight, conv.bias, padding=1))


def test_a_frozen_block_computes_and_keeps_each_convolution_once():
    torch.manual_seed(0)

    class Joining(LeanModule):
        def __init__(self) -> None:
            super().__init__()
            self.join = UpsampledConvolution(128, 64)
            self.logits = torch.nn.Conv2d(64, 1, 1)

        def forward(self, x, deeper):
            return self.logits(self.join([x, deeper], [1, 2]))

    block, maps = Joining(), (torch.rand(2, 64, 8, 8), torch.rand(2, 64, 4, 4))
    block.join.requires_grad_(False)
    block(*maps).square().sum().backward()
    gradient = block.logits.weight.grad.clone()
    block.logits.weight.grad, block.lean = None, False
    block(*maps).square().sum().backward()
    torch.testing.assert_close(gradient, block.logits.weight.grad)


def test_a_lean_block_in_a_lean_block():
    class Outer(LeanModule):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Head()
            self.join = UpsampledConvolution(128, 64)

        def forward(self, x, deeper):
            return self.join([self.inner(x), deeper], [1, 4])

    torch.manual_seed(0)
    outer, maps = Outer(), (torch.rand(1, 64, 4, 4), torch.rand(1, 64, 4, 4))
    outer(*maps).square().mean().backward()
    gradients = [parameter.grad.clone() for parameter in outer.parameters()]
    outer.zero_grad()
    outer.lean = outer.inner.lean = False
    outer(*maps).square().mean().backward()
    for ours, parameter in zip(gradients, outer.parameters(), strict=True):
        torch.testing.assert_close(ours, parameter.grad)


def test_a_meta_tensor_keeps_its_metadata_and_goes_the_short_way(block, maps):
    block.eval()
    inputs = [MetaTensor(x, meta={"name": "case"}) for x in maps]
    assert count(lambda: block(inputs, [1, 2])).get("aten::bmm", 0) > 0
    output = block(inputs, [1, 2])
    assert (output.as_tensor() - block(maps, [1, 2])).abs().max() < 1e-5
    assert output.meta["name"] == "case"


def test_default_device_and_fake_tensors_do_not_matter(block, maps):
    upsampled_convolution._tiles.cache_clear()
    expected = block.eval()(maps, [1, 2])
    upsampled_convolution._tiles.cache_clear()
    with torch.device("meta"):
        torch.testing.assert_close(block(maps, [1, 2]), expected)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert block([mode.from_tensor(x) for x in maps], [1, 2]).shape == expected.shape


@pytest.mark.parametrize(
    ("shapes", "factors"),
    [
        (((2, 65, 8, 8), (2, 65, 3, 4)), [1, 2]),
        (((2, 65, 8, 8), (1, 65, 4, 4)), [1, 2]),
        (((2, 65, 8, 8), (2, 64, 4, 4)), [1, 2]),
        (((2, 65, 8, 8), (2, 65, 1, 1)), [1, 1]),
    ],
)
def test_maps_that_do_not_fit_are_refused(shapes, factors, block):
    maps = [torch.rand(shape) for shape in shapes]
    for convolve in (block, lambda *given: convolve_upsampled(*given, block.conv.weight)):
        with pytest.raises(ValueError, match=r"one batch and size and 130 channels together, got 2x65x8x8"):
            convolve(maps, factors)


def test_even_kernels_are_refused():
    with pytest.raises(ValueError, match="kernel_size must be odd and positive, got 2"):
        UpsampledConv2d(4, 4, 2)
    with pytest.raises(ValueError, match="square and odd, got 2x2"):
        convolve_upsampled([torch.rand(1, 4, 4, 4)], [2], torch.rand(4, 4, 2, 2))
