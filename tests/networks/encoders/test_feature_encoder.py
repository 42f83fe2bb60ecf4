"""Any network that returns feature maps is an encoder."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import EfficientNetBNFeatures, ResNetFeatures

from condseg_monai import ConDSeg, FeatureEncoder


def test_a_network_of_monai_is_condseg_s_encoder():
    network = EfficientNetBNFeatures("efficientnet-b0", pretrained=False)
    encoder = FeatureEncoder(network, strides=(4, 8, 16, 32))
    assert encoder.channels == (24, 40, 112, 320) and encoder.strides == (4, 8, 16, 32)
    segmentation = ConDSeg(encoder=encoder, decoder_channels=8).eval()
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert segmentation(image).shape == (1, 1, 64, 96)
        maps, all_maps = encoder(image), network(image)
    assert all(torch.equal(a, b) for a, b in zip(maps, all_maps[1:], strict=True))


def test_probing_leaves_the_network_as_it_was():
    network = EfficientNetBNFeatures("efficientnet-b0", pretrained=False).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    FeatureEncoder(network)
    assert network.training and all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_channels_of_the_image_are_given():
    network = ResNetFeatures("resnet18", pretrained=False, spatial_dims=2, in_channels=1)
    encoder = FeatureEncoder(network, in_channels=1)
    assert [m.shape[1] for m in encoder(torch.rand(2, 1, 32, 32))] == list(encoder.channels)


def test_strides_that_the_network_lacks_name_those_it_has():
    network = EfficientNetBNFeatures("efficientnet-b0", pretrained=False)
    with pytest.raises(ValueError, match=r"strides must be four of those that network has, \[2, 4, 8, 16, 32\], got"):
        FeatureEncoder(network, strides=(1, 2, 4, 8))
