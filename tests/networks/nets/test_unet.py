"""The UNets that the methods are compared with."""

import pytest
import torch

from condseg_monai import FlexibleUNet, UNetPlusPlus, attention_unet, baseline_unet
from tests.networks.contract import NetworkContract


class TestFlexibleUNet(NetworkContract):
    def build(self, **arguments):
        return FlexibleUNet(**{"encoder": "efficientnet_lite0", "decoder_channels": 8, **arguments})

    def test_odd_width_raises(self):
        with pytest.raises(ValueError, match="decoder_channels must be a positive multiple of 2, got 7"):
            self.build(decoder_channels=7)


def test_an_encoder_of_stride_four_is_brought_to_the_image_s_size():
    pytest.importorskip("transformers")
    network = FlexibleUNet(encoder="pvt_v2_b2", decoder_channels=4).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 3, 64, 50)).shape == (1, 1, 64, 50)


@pytest.mark.parametrize("network", [baseline_unet, attention_unet, UNetPlusPlus, FlexibleUNet])
def test_activation_checkpointing_is_refused(network):
    with pytest.raises(ValueError, match="checkpointing of MONAI's UNets must be none, got 'block'"):
        network(checkpointing="block")
