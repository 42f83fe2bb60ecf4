"""ConDSeg's baseline keeps the contract, and is the network less its modules."""

from __future__ import annotations

import pytest

from condseg_monai import ConDSeg, ConDSegBaseline
from tests.networks.contract import NetworkContract


class TestConDSegBaseline(NetworkContract):
    def build(self, **arguments):
        return ConDSegBaseline(**{"encoder": "resnet18", "decoder_channels": 8, **arguments})

    def test_what_it_has_has_the_shapes_of_the_network_with_one_decoder(self):
        whole = ConDSeg(encoder="resnet18", decoder_channels=8, decoders=1).state_dict()
        for key, value in self.build().state_dict().items():
            if not key.startswith("fusions."):
                assert value.shape == whole[key.replace("decoder.", "small_decoder.", 1)].shape

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"decoder_channels": 6}, "decoder_channels must be a positive multiple of 4, got 6"),
            ({"dilation_scale": 0}, "dilation_scale must be positive, got 0"),
        ],
    )
    def test_arguments_out_of_range_raise(self, arguments, words):
        with pytest.raises(ValueError, match=words):
            self.build(**arguments)
