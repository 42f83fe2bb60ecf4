import copy
from typing import Any, NamedTuple

import pytest
import torch
from monai.data import MetaTensor, decollate_batch, list_data_collate
from torch import Tensor, nn

from condseg_monai import ConDSeg, ConDSegLoss, PrecisionInferer, RegionInferer


class Spy(nn.Conv2d):
    """Remembers what it was given."""

    def forward(self, input: Tensor) -> Tensor:
        self.seen = type(input)
        output = super().forward(input)
        self.dtype = output.dtype
        return output


@pytest.mark.parametrize("inferer", [PrecisionInferer, RegionInferer])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_network_computes_in_the_precision_and_the_prediction_is_float32(inferer, precision):
    network, image = Spy(3, 1, 1), torch.rand(2, 3, 4, 5)
    output = inferer(precision=precision)(image, network)
    assert network.dtype == getattr(torch, precision) and output.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        assert torch.equal(output, network(image).float())


def test_network_sees_plain_tensors_and_the_prediction_keeps_the_metadata():
    items = [MetaTensor(torch.rand(3, 4, 5), meta={"name": name}) for name in "ab"]
    for item in items:
        item.applied_operations.append({"class": "Resize"})
    images = list_data_collate(items)
    network = Spy(3, 1, 1)
    output = PrecisionInferer()(images, network)
    assert network.seen is Tensor and isinstance(output, MetaTensor)
    first, second = decollate_batch(output)
    assert [first.meta["name"], second.meta["name"]] == ["a", "b"]
    assert first.applied_operations == items[0].applied_operations != []


def test_training_outputs_come_back_as_they_are():
    class Output(NamedTuple):
        mask: Tensor

    expected = Output(torch.zeros(1))
    assert PrecisionInferer()(torch.zeros(1, 3, 4, 4), lambda _: expected) is expected


class Views(NamedTuple):
    mask: Tensor
    features: Any


class TwoOutputs(nn.BatchNorm2d):
    def forward(self, input: Tensor) -> Views:
        output = super().forward(input)
        return Views(output, output.mean(dim=(2, 3)))


@pytest.mark.parametrize("network", [nn.BatchNorm2d(3), TwoOutputs(3)])
def test_two_passes_are_two_calls_of_the_network(network):
    clean, augmented = torch.rand(2, 3, 4, 5), 2 * torch.rand(2, 3, 4, 5)
    state = copy.deepcopy(network.state_dict())
    first, second = network(clean), network(augmented)
    expected, network_after = copy.deepcopy(network.state_dict()), network
    network_after.load_state_dict(state)
    output = PrecisionInferer(passes=2)(torch.cat([clean, augmented]), network_after)
    pairs = zip(output, zip(first, second, strict=True), strict=True) if isinstance(output, tuple) else ()
    for field, parts in pairs or ((output, (first, second)),):
        assert torch.equal(field, torch.cat(parts))
    assert type(output) is type(first)
    assert all(torch.equal(value, expected[key]) for key, value in network_after.state_dict().items())
    together = PrecisionInferer()(torch.cat([clean, augmented]), network_after)
    assert not torch.equal(together[0], output[0])


def test_a_list_of_maps_is_concatenated_map_by_map():
    image = torch.rand(2, 3, 4, 5)
    output = PrecisionInferer(passes=2)(image, lambda x: Views(x, [x, 2 * x]))
    assert torch.equal(output.mask, image)
    assert torch.equal(torch.stack(output.features), torch.stack([image, 2 * image]))


def test_batches_that_cannot_be_cut_raise():
    with pytest.raises(ValueError, match="a batch of 3 cannot be cut into 2 equal parts"):
        PrecisionInferer(passes=2)(torch.zeros(3, 3, 4, 4), nn.Identity())
    with pytest.raises(ValueError, match="passes must be positive, got 0"):
        PrecisionInferer(passes=0)


def test_unknown_precision_raises():
    with pytest.raises(ValueError, match="precision must be one of float32, bfloat16, float16, got 'half'"):
        PrecisionInferer("half")
    with pytest.raises(ValueError, match="precision must be one of"):
        RegionInferer(precision="half")


def test_float16_on_a_cpu_raises():
    with pytest.raises(ValueError, match="float16 needs a GPU: use bfloat16"):
        PrecisionInferer("float16")(torch.zeros(1, 3, 4, 4), nn.Conv2d(3, 1, 1))


def test_bfloat16_gives_every_parameter_a_gradient():
    torch.manual_seed(0)
    network = ConDSeg(encoder="resnet18", decoder_channels=16).train()
    output = PrecisionInferer("bfloat16")(torch.rand(2, 3, 32, 32), network)
    sum(logits.float().square().mean() for logits in output).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.slow
def test_bfloat16_stays_within_six_hundredths_of_the_largest_logit_after_some_training():
    torch.manual_seed(0)
    masks = (nn.functional.interpolate(torch.rand(2, 1, 4, 4), size=(64, 64), mode="bilinear") > 0.5).float()
    images = (torch.rand(2, 3, 64, 64) + masks) / 2  # noise with brighter blobs
    network, loss = ConDSeg(encoder="resnet18", decoder_channels=16), ConDSegLoss()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(20):
        optimizer.zero_grad()
        loss(network(images), masks).backward()
        optimizer.step()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics of the weights as they are now, not of those on the way
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        network(images)
        network.eval()
        exact, mixed = (RegionInferer(precision=precision)(images, network) for precision in ("float32", "bfloat16"))
    assert not torch.equal(exact, mixed)
    assert (exact - mixed).abs().max() < 0.06 * exact.abs().max()
    between = (exact.min() + exact.max()) / 2  # a threshold that some pixels exceed, whatever was learned
    assert ((exact > between) == (mixed > between)).float().mean() > 0.98
