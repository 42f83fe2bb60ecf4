from collections import namedtuple

import pytest
import torch
from monai.data import MetaTensor, decollate_batch
from torch import nn

from condseg_monai.inference.region_inferer import RegionInferer, SplitUncertaintyd

Prediction = namedtuple("Prediction", ["mask", "regions"])


class Regions(nn.Module):
    """Logits and regions that are easy to tell apart."""

    def forward(self, x):
        return x[:, :1] + 5

    def predict_regions(self, x):
        return Prediction(x[:, :1] + 5, torch.stack([x[:, 0], x[:, 1], x[:, 2]], dim=1))


def test_without_uncertainty_it_is_the_network_alone():
    x = torch.rand(2, 3, 4, 5)
    assert torch.equal(RegionInferer()(x, Regions()), x[:, :1] + 5)


def test_uncertainty_is_the_third_region_as_last_channel():
    x = torch.rand(2, 3, 4, 5)
    output = RegionInferer(uncertainty=True)(x, Regions())
    assert torch.equal(output, torch.cat([x[:, :1] + 5, x[:, 2:3]], dim=1))


def test_split_undoes_the_appending_and_keeps_metadata():
    x = MetaTensor(torch.rand(2, 3, 4, 5))
    output = RegionInferer(uncertainty=True)(x, Regions())
    for i, item in enumerate(decollate_batch({"pred": output})):
        result = SplitUncertaintyd("pred", "uncertainty")(item)
        assert torch.equal(result["pred"].as_tensor(), x[i, :1].as_tensor() + 5)
        assert torch.equal(result["uncertainty"].as_tensor(), x[i, 2:3].as_tensor())
        assert isinstance(result["uncertainty"], MetaTensor)
        assert item["pred"].shape == (2, 4, 5)


def test_network_without_regions_raises_only_when_they_are_wanted():
    x = torch.rand(1, 3, 4, 5)
    network = nn.Conv2d(3, 1, 1)
    assert RegionInferer()(x, network).shape == (1, 1, 4, 5)
    with pytest.raises(ValueError, match="Conv2d predicts no regions"):
        RegionInferer(uncertainty=True)(x, network)
