"""ConDSeg keeps the contract, in each form and on each encoder."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from condseg_monai import ConDSeg, Encoder
from condseg_monai.networks.nets import ConDSegOutput
from tests.networks.contract import NetworkContract
from tests.networks.without_cdfa import without_cdfa


class TestConDSeg(NetworkContract):
    def build(self, **arguments):
        return ConDSeg(**{"encoder": "resnet18", "decoder_channels": 16, **arguments})

    def to_export(self, network):
        return without_cdfa(network, 16, keep=[2, 3])  # with a deeper stage, and the deepest

    def train_outputs(self, output):
        assert isinstance(output, ConDSegOutput)
        return list(output)

    @pytest.mark.parametrize("out_channels", [1, 4])
    def test_regions_stay_binary_whatever_the_number_of_classes(self, out_channels):
        output = self.build(out_channels=out_channels).train()(self.image(32, 32))
        assert output.mask.shape == (2, out_channels, 32, 32)
        assert all(region.shape == (2, 1, 32, 32) for region in output[1:])

    def test_predicted_regions_sum_to_one_and_the_mask_is_that_of_forward(self, evaluated):
        image = self.image(33, 47)
        with torch.no_grad():
            prediction = evaluated.predict_regions(image)
            torch.testing.assert_close(prediction.regions.sum(dim=1), torch.ones(2, 33, 47))
            assert prediction.regions.shape == (2, 3, 33, 47)
            assert torch.equal(prediction.mask, evaluated(image))
            output = evaluated.forward_regions(image)
        expected = torch.softmax(torch.cat(output[1:], dim=1), dim=1)  # Eq. 8, foreground, background, uncertainty
        torch.testing.assert_close(prediction.regions, expected)

    def test_evaluation_runs_nothing_the_mask_does_not_need(self):
        network, ran = self.build().eval(), []
        for name in ("foreground_head", "background_head", "uncertainty_head", "sid.uncertainty"):
            network.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.append(name))
        with torch.no_grad():
            network(self.image(32, 32))
            assert ran == []
            network.predict_regions(self.image(32, 32))
        assert sorted(ran) == ["background_head", "foreground_head", "sid.uncertainty", "uncertainty_head"]

    def test_dropout_acts_in_training_only(self):
        torch.manual_seed(0)
        network = self.build(dropout=0.5)
        for module in network.modules():  # leave dropout as the only random or batch-dependent part
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        image = self.image(32, 32)
        with torch.no_grad():
            assert not torch.equal(network.output.dropout(torch.ones(1, 8, 2, 2)), torch.ones(1, 8, 2, 2))
            network.eval()
            assert torch.equal(network(image), network(image))

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"decoder_channels": 6}, "decoder_channels must be a positive multiple of 4, got 6"),
            ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
            ({"cdfa": "both"}, 'form must be "paper" or "released"'),
            ({"cdfa_window": 2}, "window must be odd"),
            ({"cdfa_heads": 3}, "heads must divide channels"),
            ({"decoders": 2}, "decoders must be 1 or 3, got 2"),
        ],
    )
    def test_arguments_out_of_range_raise(self, arguments, words):
        with pytest.raises(ValueError, match=words):
            self.build(**arguments)

    def test_an_encoder_of_ones_own_is_taken(self):
        class Pooling(Encoder):
            channels = (3, 3, 3, 3)
            strides = (2, 4, 8, 16)

            def forward(self, x):
                return [nn.functional.avg_pool2d(x, stride) for stride in self.strides]

        network = ConDSeg(encoder=Pooling(), decoder_channels=8).eval()
        with torch.no_grad():
            assert network(self.image(40, 40)).shape == (2, 1, 40, 40)

    def test_default_size_is_the_released_one(self):
        with torch.device("meta"):
            network = ConDSeg(cdfa="released")
        assert round(sum(p.numel() for p in network.parameters()) / 1e6, 1) == 45.6


class TestOneDecoder(NetworkContract):
    def build(self, **arguments):
        return ConDSeg(**{"encoder": "resnet18", "decoder_channels": 8, "decoders": 1, **arguments})

    def train_outputs(self, output):
        return list(output)

    test_script_serves_other_sizes = test_trace_serves_other_sizes = None  # slow, and TestConDSeg has them
    test_export_serves_other_sizes = None

    def test_it_is_the_one_of_small_targets(self):
        keys = {key for key in self.build().state_dict() if "_decoder." in key}
        assert keys == {key for key in self.build(decoders=3).state_dict() if key.startswith("small_decoder.")}


@pytest.mark.parametrize("window", [1, 5])
def test_window_is_that_of_every_cdfa(window):
    network = ConDSeg(encoder="resnet18", decoder_channels=4, cdfa_window=window).eval()
    assert [cdfa.foreground_attention.out_channels for cdfa in network.cdfas] == [window**4] * 4
    with torch.no_grad():
        assert network(torch.rand(1, 3, 32, 48)).shape == (1, 1, 32, 48)


class TestReleasedForm(TestConDSeg):
    test_trace_serves_other_sizes = None  # slow, and TestConDSeg has it
    test_export_serves_other_sizes = None  # slow, and tests/networks/blocks/test_cdfa.py has it of what differs

    def build(self, **arguments):
        return super().build(**{"cdfa": "released", **arguments})


class TestOnVGG(NetworkContract):
    def build(self, **arguments):
        return ConDSeg(**{"encoder": "vgg19", "decoder_channels": 8, **arguments})

    test_trace_serves_other_sizes = test_export_serves_other_sizes = None  # slow, and TestConDSeg has them

    def train_outputs(self, output):
        return list(output)


class TestOnPVT(TestOnVGG):
    stride = 32
    scriptable = False
    test_trace_serves_other_sizes = NetworkContract.test_trace_serves_other_sizes

    def build(self, **arguments):
        pytest.importorskip("transformers")
        return super().build(**{"encoder": "pvt_v2_b2", **arguments})
