"""Folding leaves the function as it is, and leaves alone what it cannot fold."""

from __future__ import annotations

import copy
import weakref

import pytest
import torch
from torch import Tensor, nn

from condseg_monai import ConDSeg, ConDSegStage1, fold_batch_norm


def with_random_statistics(network: nn.Module) -> nn.Module:
    """Statistics and affine weights as after a training, so that no BatchNorm is the identity."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias.data):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
            for tensor in (module.running_var, module.weight.data):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return network.eval()


def batch_norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize("cdfa", ["paper", "released"])
def test_condseg_is_the_same_function_without_any_batch_norm(cdfa):
    torch.manual_seed(0)
    network = with_random_statistics(ConDSeg(encoder="resnet18", decoder_channels=16, cdfa=cdfa)).double()
    before = copy.deepcopy(network.state_dict())
    folded = fold_batch_norm(network, torch.rand(1, 3, 32, 32, dtype=torch.float64))
    assert batch_norms(folded) == 0 < batch_norms(network)
    image = torch.rand(2, 3, 48, 33, dtype=torch.float64)
    with torch.no_grad():
        for ours, expected in zip(folded.forward_regions(image), network.forward_regions(image), strict=True):
            torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12 * expected.abs().max().item())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_bottlenecks_are_folded_and_what_is_between_two_layers_is_not():
    torch.manual_seed(0)
    network = with_random_statistics(ConDSegStage1(encoder="resnet50")).double()
    folded = fold_batch_norm(network, torch.rand(1, 3, 32, 32, dtype=torch.float64))
    assert batch_norms(folded.encoder) == 0
    assert batch_norms(folded) == 4  # stage 1 enlarges between its 1x1 convolutions and their BatchNorms
    image = torch.rand(1, 3, 32, 48, dtype=torch.float64)
    with torch.no_grad():
        expected = network(image)
        torch.testing.assert_close(folded(image), expected, rtol=0, atol=1e-12 * expected.abs().max().item())


def test_inplace_changes_the_network_itself():
    network = with_random_statistics(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)))
    image = torch.rand(1, 3, 8, 8)
    expected = network(image)
    assert fold_batch_norm(network, image, inplace=True) is network
    torch.testing.assert_close(network(image), expected)
    assert isinstance(network[1], nn.Identity)


def test_inplace_keeps_the_memory_of_the_weights():
    network = with_random_statistics(ConDSegStage1(encoder="resnet18"))
    convs = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    places = [conv.weight.data_ptr() for conv in convs]
    fold_batch_norm(network, torch.rand(1, 3, 32, 32), inplace=True)
    assert [conv.weight.data_ptr() for conv in convs] == places


@pytest.mark.parametrize("inplace", [True, False])
def test_convolutions_that_share_a_weight_are_folded_each_for_itself(inplace):
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    network[2].weight = network[0].weight
    image = torch.rand(1, 3, 8, 8)
    expected = with_random_statistics(network)(image)
    folded = fold_batch_norm(network, image, inplace=inplace)
    assert batch_norms(folded) == 0
    torch.testing.assert_close(folded(image), expected)


def test_a_network_made_in_inference_mode_is_folded_in_place():
    with torch.inference_mode():
        network = with_random_statistics(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
        image = torch.rand(1, 3, 8, 8)
        expected = network(image)
    fold_batch_norm(network, image, inplace=True)
    with torch.inference_mode():
        torch.testing.assert_close(network(image), expected)


def test_statistics_without_affine_weights_are_folded():
    network = with_random_statistics(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)).double())
    network[1].weight = network[1].bias = None
    image = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    folded = fold_batch_norm(network, image)
    assert batch_norms(folded) == 0
    torch.testing.assert_close(folded(image), network(image))


def test_outputs_of_layers_are_given_up_while_the_pass_goes_on():
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal most
        alive.append(weakref.ref(output))
        most = max(most, sum(output() is not None for output in alive))

    network = nn.Sequential(*(layer for _ in range(8) for layer in (nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))).eval()
    for layer in network:
        layer.register_forward_hook(count)
    fold_batch_norm(network, torch.rand(1, 3, 8, 8), inplace=True)
    assert most <= 3  # of 16: a layer's, its input, and what both passes end with


def test_a_layer_used_twice_is_left_alone():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.conv(self.norm(self.conv(x))))

    network = with_random_statistics(Twice())
    image = torch.rand(1, 3, 8, 8)
    folded = fold_batch_norm(network, image)
    assert batch_norms(folded) == 1
    assert torch.equal(folded(image), network(image))


def test_an_output_that_is_also_used_elsewhere_raises():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            return x + self.norm(x)

    with pytest.raises(ValueError, match="cannot be folded in Residual"):
        fold_batch_norm(with_random_statistics(Residual()), torch.rand(1, 3, 8, 8))
