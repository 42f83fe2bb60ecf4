"""Lean training is training, in values, gradients and running statistics, and keeps less."""

from __future__ import annotations

import contextlib
import copy

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from benchmarks.measure import PeakTensorBytes
from condseg_monai.networks import lean
from condseg_monai.networks.blocks import (
    AuxiliaryHead,
    PreEnhancement,
    RegionFeatures,
    SizeAwareDecoder,
    conv_norm_act,
    upsample,
)
from condseg_monai.networks.lean import LeanModule, LeanNetwork, LeanSequential, compute_again, is_lean

BLOCKS = {
    "sequence": lambda: LeanSequential(conv_norm_act(4, 4), conv_norm_act(4, 4, 1)),
    "auxiliary head": lambda: AuxiliaryHead(4, 16),
    "region features": lambda: RegionFeatures(4, 4),
    "pre-enhancement": lambda: PreEnhancement(4, 4, act="telu"),
    "decoder": lambda: SizeAwareDecoder(4),
    "CBAT decoder": lambda: SizeAwareDecoder(4, act="telu", cbat=True),
}


@pytest.fixture(autouse=True)
def keep_small_convolutions(monkeypatch):
    """The blocks here are so narrow that all their convolutions would be computed again."""
    monkeypatch.setattr(lean, "_FEW_PRODUCTS", 0)


class Block(LeanModule):
    """Two convolutions at two sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = conv_norm_act(3, 8)
        self.conv2 = conv_norm_act(8, 5, act="telu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv2(upsample(self.conv1(x), 2))


def make(name: str) -> tuple[LeanModule, LeanModule]:
    """A block with BatchNorms of all kinds of weights, and its twin that is not lean."""
    torch.manual_seed(0)
    block = BLOCKS[name]().double()
    for norm in block.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias)
    plain = copy.deepcopy(block)
    for module in plain.modules():
        if isinstance(module, LeanModule):
            module.lean = False
    return block, plain


def inputs_of(name: str) -> tuple[torch.Tensor, ...]:
    image = torch.randn(2, 4, 6, 4, dtype=torch.float64)
    return (image, torch.randn(2, 4, 3, 2, dtype=torch.float64)) if "decoder" in name else (image,)


def assert_equal(ours: nn.Module, theirs: nn.Module, tolerance: float = 0) -> None:
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=tolerance, atol=tolerance, msg=name)
    for (name, a), b in zip(ours.named_buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize("name", list(BLOCKS))
def test_values_gradients_and_statistics_are_the_same(name):
    """To the last bit, but for the auxiliary head, whose last layers are computed some pixels at a time."""
    tolerance = 1e-12 if name == "auxiliary head" else 0
    block, plain = make(name)
    inputs = inputs_of(name)
    gradients = []
    for module in (block, plain):
        own = [x.clone().requires_grad_() for x in inputs]
        output = module(*own)
        output.square().sum().backward()
        gradients.append([output.detach(), *(x.grad for x in own)])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    assert_equal(block, plain, tolerance)
    assert all(norm.num_batches_tracked == 1 for norm in block.modules() if isinstance(norm, nn.BatchNorm2d))


def test_training_keeps_the_outputs_of_convolutions_and_nothing_else():
    block, image = Block(), torch.rand(2, 3, 16, 16)
    with PeakTensorBytes() as tensors:
        output = block(image)
    convolved, enlarged = 2 * 8 * 16 * 16 * 4, 2 * 5 * 32 * 32 * 4
    assert tensors.now - convolved - 2 * enlarged < 2000, "statistics of the batch are small"
    del output
    assert tensors.now < 2000


def test_convolutions_of_few_products_are_computed_again(monkeypatch):
    monkeypatch.setattr(lean, "_FEW_PRODUCTS", 8)
    block, plain = make("sequence")  # of 36 and of 4 products
    (image,) = inputs_of("sequence")
    with PeakTensorBytes() as tensors:
        output = block(image)
    assert tensors.now - 2 * output.numel() * 8 < 2000, "of the first convolution's output and the block's"
    for module in (block, plain):
        module(image).square().sum().backward()
    for ours, theirs in zip(block.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)


class Twice(LeanModule):
    """A convolution inside two blocks that is computed again instead of kept; ``calls`` counts."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def convolve() -> torch.Tensor:
            self.calls += 1
            return self.conv(x)

        return compute_again(convolve).relu().mean(dim=1)


def test_what_is_computed_again_is_not_kept():
    block, image = Twice(), torch.rand(2, 3, 16, 16)
    around = LeanSequential(block)
    expected = torch.autograd.grad(block.conv(image).relu().mean(dim=1).square().sum(), block.conv.weight)
    with PeakTensorBytes() as tensors:
        output = around(image)
    assert tensors.now == 2 * 16 * 16 * 4 and block.calls == 1
    output.square().sum().backward()
    assert torch.equal(block.conv.weight.grad, expected[0])
    assert block.calls == 2
    block.eval()(image)
    assert block.calls == 3


class WatchesItself(Block):
    """Computes under a dispatch mode of its own, on top of that of the block."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with PeakTensorBytes():
            once = lean.compute_once(lambda: self.conv1.conv(x) * 2)
            return self.conv2(upsample(once + lean.compute_again(lambda: self.conv1.conv(x)), 2))


def test_a_block_may_have_a_dispatch_mode_of_its_own():
    torch.manual_seed(0)
    block = WatchesItself()
    plain = copy.deepcopy(block)
    plain.lean = False
    image = torch.rand(2, 3, 8, 8)
    for module in (block, plain):
        module.conv1.conv.requires_grad_(False)  # what is computed once has no graph
        module(image).square().sum().backward()
    torch.testing.assert_close(block.conv2.conv.weight.grad, plain.conv2.conv.weight.grad)


def test_decoders_leave_what_their_layers_give_alone():
    decoder, seen = SizeAwareDecoder(4), []
    decoder.conv3.register_forward_hook(lambda _, __, output: seen.append((output, output.detach().clone())))
    decoder(torch.rand(2, 4, 6, 4), torch.rand(2, 4, 3, 2))
    assert torch.equal(*seen[0])


def test_an_image_without_gradient_still_teaches_the_weights():
    block = Block()
    block(torch.rand(2, 3, 8, 8)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in block.parameters())


def test_a_graph_that_is_retained_can_be_walked_again():
    block, plain = make("decoder")
    inputs = inputs_of("decoder")
    for module in (block, plain):
        output = module(*inputs)
        output.sum().backward(retain_graph=True)
        output.square().sum().backward()
    assert_equal(block, plain)


def test_a_network_keeps_everything_of_a_small_batch(monkeypatch):
    class Network(LeanNetwork):
        def __init__(self):
            super().__init__()
            self.block = Block()

        def forward(self, x):
            return self.block(x)

    seen = []
    monkeypatch.setattr(Block, "forward", lambda self, x: seen.append(is_lean()) or self.conv2(self.conv1(x)))
    monkeypatch.setattr(lean, "_FEW_NUMBERS", 2 * 3 * 6 * 6)
    network = Network()
    network(torch.rand(2, 3, 6, 6)).sum().backward()
    assert seen == [True, True]  # once more in the backward pass
    network(x=torch.rand(2, 3, 6, 5)).sum().backward()
    assert seen == [True, True, False]
    network.block(torch.rand(2, 3, 6, 5))
    assert seen[-1]  # a block on its own saves memory at any size


def change_in_place(block, x):
    with torch.no_grad():
        block.conv2.conv.weight.mul_(2)


def step(block, x):
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    block(x).sum().backward()
    optimizer.step()


def load(block, x):
    block.load_state_dict(block.state_dict())


def exchange(block, x):
    block.conv2.conv.weight = nn.Parameter(block.conv2.conv.weight.detach() * 2)


@pytest.mark.parametrize("change", [change_in_place, step, load, exchange])
def test_weights_that_changed_before_the_backward_pass_are_refused(change):
    block, x = Block(), torch.rand(2, 3, 6, 6)
    loss = block(x).square().sum()
    change(block, x)
    with pytest.raises(RuntimeError, match="of Block was changed or exchanged after the forward pass"):
        loss.backward()


def test_weights_of_a_functional_call_are_refused():
    block = Block()
    weights = {name: (2 * weight).detach().requires_grad_() for name, weight in block.named_parameters()}
    loss = torch.func.functional_call(block, weights, torch.rand(2, 3, 6, 6)).sum()
    with pytest.raises(RuntimeError, match="lean = False"):
        loss.backward()


@pytest.mark.parametrize(
    "dropout",
    [nn.Dropout(0.5), nn.Dropout2d(0.5), lambda x: torch.native_dropout(x, 0.5, True)[0]],
    ids=["dropout", "dropout of channels", "native"],
)
@pytest.mark.parametrize("nested", [False, True])
def test_dropout_is_drawn_once_whatever_else_draws(dropout, nested):
    class Dropped(Block):
        def forward(self, x):
            return self.conv2(upsample(dropout(self.conv1(x)), 2))

    torch.manual_seed(0)
    lean = LeanSequential(Dropped(), conv_norm_act(5, 4)) if nested else Dropped()
    kept = copy.deepcopy(lean)
    for module in kept.modules():
        module.lean = False
    x = torch.rand(2, 3, 6, 6)
    gradients = []
    for block in (lean, kept):
        torch.manual_seed(1)
        loss = block(x).square().sum()
        after = torch.get_rng_state()
        torch.rand(5)  # as another thread may do at any time
        loss.backward(retain_graph=True)
        loss.backward()
        gradients.append([weight.grad for weight in block.parameters()])
        torch.rand(3)
        torch.set_rng_state(after)
    assert gradients[0][0].abs().max() > 0
    torch.testing.assert_close(*gradients)


def test_the_backward_pass_leaves_the_generator_alone():
    block = LeanSequential(conv_norm_act(3, 4), nn.Dropout(0.5), conv_norm_act(4, 4))
    loss = block(torch.rand(2, 3, 6, 6)).sum()
    before = torch.get_rng_state()
    loss.backward()
    assert torch.equal(torch.get_rng_state(), before)


def test_gradients_of_gradients_are_the_same():
    block, plain = make("region features")
    image = torch.randn(2, 4, 3, 2, dtype=torch.float64)
    for module in (block, plain):
        own = image.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(module(own).square().sum(), own, create_graph=True)
        gradient.square().sum().backward()
    for ours, theirs in zip(block.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize(
    "case", ["evaluation", "no gradient", "mixed precision", "hook", "backward hook", "global hook"]
)
def test_where_nothing_would_be_gained_the_block_is_simply_called(case, monkeypatch):
    monkeypatch.setattr("condseg_monai.networks.lean.checkpoint", lambda *_, **__: pytest.fail("keeps only a part"))
    block = Block()
    if case == "evaluation":
        block.eval()
    if case == "hook":
        block.conv1.register_forward_hook(lambda *_: None)
    if case == "backward hook":
        block.conv1.register_full_backward_pre_hook(lambda *_: None)
    anywhere = register_module_forward_hook(lambda *_: None) if case == "global hook" else contextlib.nullcontext()
    with (
        anywhere,
        torch.set_grad_enabled(case != "no gradient"),
        torch.autocast("cpu", torch.bfloat16, enabled=case == "mixed precision"),
    ):
        assert block(torch.rand(2, 3, 8, 8)).shape == (2, 5, 16, 16)


def test_arguments_may_have_names():
    block, plain = make("pre-enhancement")
    (image,) = inputs_of("pre-enhancement")
    assert torch.equal(block(x=image), plain(image))
    assert torch.equal(block.eval()(x=image), plain.eval()(image))


def test_an_output_of_a_convolution_changed_in_place_is_refused():
    block = LeanSequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True), nn.BatchNorm2d(4))
    with pytest.raises(RuntimeError, match=r"relu_\.default changes the output of a convolution in place"):
        block(torch.rand(2, 3, 8, 8))


@pytest.mark.parametrize("norm", ["instance", "without statistics", "synchronised"])
def test_other_norms_count_each_step_once(norm):
    make_norm = {
        "instance": lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
        "without statistics": lambda: nn.BatchNorm2d(4, track_running_stats=False),
        "synchronised": lambda: nn.BatchNorm2d(4),
    }[norm]
    block = LeanSequential(nn.Conv2d(3, 4, 1), make_norm(), nn.ReLU())
    if norm == "synchronised":
        block = nn.SyncBatchNorm.convert_sync_batchnorm(block)
    plain = copy.deepcopy(block)
    plain.lean = False
    image = torch.rand(2, 3, 8, 8)
    for module in (block, plain):
        module(image).square().sum().backward()
    assert_equal(block, plain)
