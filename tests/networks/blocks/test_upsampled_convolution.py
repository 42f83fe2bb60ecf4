"""The block that convolves enlarged and joined maps, and when it does so without enlarging them."""

from __future__ import annotations

import sys

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
    convolve_upsampled_map,
    upsample,
)
from condseg_monai.networks.lean import LeanModule
from tests.networks.blocks.test_convolve_upsampled import as_written


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

    original = convolve_upsampled_map.convolve_map
    # The package has the function under the name of the module that calls it.
    monkeypatch.setattr(sys.modules[convolve_upsampled.__module__], "convolve_map", convolve_map)
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
    convolve_upsampled_map._tiles.cache_clear()
    expected = block.eval()(maps, [1, 2])
    convolve_upsampled_map._tiles.cache_clear()
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
