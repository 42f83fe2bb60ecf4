from collections import namedtuple

import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from condseg_monai.inference.region_inferer import RegionInferer

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


def test_uncertainty_is_the_third_region_beside_the_mask_with_metadata():
    x = MetaTensor(torch.rand(2, 3, 4, 5), meta={"filename_or_obj": ["a", "b"]})
    output = RegionInferer(uncertainty=True)(x, Regions())
    assert torch.equal(output["pred"].as_tensor(), x[:, :1].as_tensor() + 5)
    assert torch.equal(output["uncertainty"].as_tensor(), x[:, 2:3].as_tensor())
    assert output["uncertainty"].meta["filename_or_obj"] == ["a", "b"]


def test_network_without_regions_raises_only_when_they_are_wanted():
    x = torch.rand(1, 3, 4, 5)
    network = nn.Conv2d(3, 1, 1)
    assert RegionInferer()(x, network).shape == (1, 1, 4, 5)
    with pytest.raises(ValueError, match="Conv2d predicts no regions"):
        RegionInferer(uncertainty=True)(x, network)
