from typing import NamedTuple

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
