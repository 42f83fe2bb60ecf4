"""A 1x1 convolution behind BatchNorm and ReLU, trained some pixels at a time."""

from __future__ import annotations

import copy

import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from benchmarks.measure import PeakTensorBytes
from condseg_monai.networks.blocks import AuxiliaryHead, conv_norm_act, normalized_pointwise
from condseg_monai.networks.lean import LeanModule, LeanSequential, is_lean


class Block(LeanModule):
    def __init__(self, channels: int = 6, out_channels: int = 5, act: str = "relu", bias: bool = True) -> None:
        super().__init__()
        self.adn = conv_norm_act(channels, channels, act=act).adn
        self.conv = nn.Conv2d(channels, out_channels, 1, bias=bias)
        nn.init.uniform_(self.adn.N.weight, -1, 2)
        nn.init.normal_(self.adn.N.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not is_lean():
            return self.conv(self.adn(x))
        return normalized_pointwise.normalized_pointwise(x, self.adn, self.conv)


def make(*args, **kwargs) -> tuple[Block, Block]:
    """A block in double precision, and its twin that calls one module after the other."""
    torch.manual_seed(0)
    block = Block(*args, **kwargs).double()
    plain = copy.deepcopy(block)
    plain.lean = False
    return block, plain


def assert_equal(block: Block, plain: Block, image: torch.Tensor) -> None:
    images = [image.clone(memory_format=torch.preserve_format).requires_grad_() for _ in range(2)]
    outputs = [module(x) for module, x in zip((block, plain), images, strict=True)]
    torch.testing.assert_close(*outputs)
    weights = torch.randn_like(outputs[0])
    for output in outputs:
        (output * weights).sum().backward()
    torch.testing.assert_close(images[0].grad, images[1].grad)
    for ours, theirs in zip(block.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    for ours, theirs in zip(block.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.fixture
def only_fused(monkeypatch):
    monkeypatch.setattr(nn.BatchNorm2d, "forward", lambda *_: pytest.fail("normalises the whole map"))


@pytest.mark.parametrize("size", [(2, 6, 3, 4), (1, 6, 64, 64), (2, 6, 70, 71)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("bias", [True, False])
def test_values_gradients_and_statistics_are_those_of_the_modules(size, memory_format, bias):
    block, plain = make(bias=bias)
    image = 3 + 2 * torch.randn(size, dtype=torch.float64)
    assert_equal(block, plain, image.contiguous(memory_format=memory_format))


@pytest.mark.parametrize(("channels", "out_channels"), [(1, 1), (1, 3), (6, 1)])
def test_one_channel_will_do(channels, out_channels):
    assert_equal(*make(channels, out_channels), torch.randn(2, channels, 9, 8, dtype=torch.float64))


def test_modules_are_not_called(only_fused):
    block, _ = make()
    assert block(torch.randn(2, 6, 8, 8, dtype=torch.float64)).shape == (2, 5, 8, 8)


def test_frozen_weights_get_no_gradient():
    block, plain = make()
    for module in (block, plain):
        module.conv.requires_grad_(False)
        module.adn.N.bias.requires_grad_(False)
    image = torch.randn(2, 6, 8, 8, dtype=torch.float64)
    for module in (block, plain):
        module(image).square().sum().backward()
    torch.testing.assert_close(block.adn.N.weight.grad, plain.adn.N.weight.grad)
    assert block.conv.weight.grad is block.adn.N.bias.grad is None


def test_a_map_with_metadata_is_a_map():
    block, plain = make()
    image = torch.randn(2, 6, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(torch.as_tensor(block(MetaTensor(image))), plain(image))


@pytest.mark.parametrize("case", ["evaluation", "frozen norm", "telu", "no affine", "cumulative", "no statistics"])
def test_other_layers_are_simply_called(case, monkeypatch):
    monkeypatch.setattr(normalized_pointwise, "_fused", lambda *_: pytest.fail("is for others"))
    block, _ = make(act="telu" if case == "telu" else "relu")
    if case == "evaluation":
        block.eval()
    if case == "frozen norm":
        block.adn.N.eval()
    norms = {
        "no affine": nn.BatchNorm2d(6, affine=False),
        "cumulative": nn.BatchNorm2d(6, momentum=None),
        "no statistics": nn.BatchNorm2d(6, track_running_stats=False),
    }
    if case in norms:
        block.adn.N = norms[case].double()
    assert block(torch.randn(2, 6, 8, 8, dtype=torch.float64)).shape == (2, 5, 8, 8)


def test_one_pixel_has_no_variance():
    block, _ = make()
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        block(torch.randn(1, 6, 1, 1, dtype=torch.float64))


def test_nothing_of_the_size_of_the_map_is_made_but_its_gradient():
    block, _ = make(channels=64, out_channels=1)
    image = torch.randn(2, 64, 256, 256, dtype=torch.float64).to(memory_format=torch.channels_last).requires_grad_()
    with PeakTensorBytes() as tensors:
        block(image).sum().backward()
    assert tensors.peak < 1.35 * image.numel() * 8


class ShiftedConv2d(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + 7


def test_a_convolution_of_another_kind_is_called():
    block, plain = make()
    for module in (block, plain):
        module.conv.__class__ = ShiftedConv2d
    assert_equal(block, plain, torch.randn(2, 6, 8, 8, dtype=torch.float64))


def test_a_block_that_is_not_lean_stays_so_inside_one_that_is(monkeypatch):
    monkeypatch.setattr(normalized_pointwise, "_fused", lambda *_: pytest.fail("is for lean blocks"))
    head = AuxiliaryHead(4, 16).double()
    head.lean = False
    assert LeanSequential(head)(torch.randn(2, 4, 2, 2, dtype=torch.float64)).shape == (2, 1, 32, 32)


def test_gradients_of_gradients_are_refused():
    block, _ = make()
    image = torch.randn(2, 6, 8, 8, dtype=torch.float64, requires_grad=True)
    with pytest.raises(RuntimeError, match="can be differentiated once"):
        torch.autograd.grad(block(image).sum(), image, create_graph=True)


def test_a_head_can_be_scripted():
    head, image = AuxiliaryHead(4, 16).eval(), torch.rand(1, 4, 2, 2)
    torch.testing.assert_close(torch.jit.script(head)(image), head(image))
