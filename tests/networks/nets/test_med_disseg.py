"""Med-DisSeg's networks keep the contract, and are ConDSeg's with other arguments."""

from __future__ import annotations

import torch

from condseg_monai import ConDSeg, ConDSegStage1, MedDisSeg, MedDisSegStage1
from condseg_monai.networks.nets import MedDisSegOutput, MedDisSegStage1Output
from tests.networks.contract import NetworkContract
from tests.networks.without_cdfa import without_cdfa


class TestMedDisSeg(NetworkContract):
    def build(self, **arguments):
        return MedDisSeg(**{"encoder": "resnet18", "decoder_channels": 16, **arguments})

    def to_export(self, network):
        return without_cdfa(network, 16)

    def train_outputs(self, output):
        assert isinstance(output, MedDisSegOutput)
        return list(output)[:4]

    def test_it_is_condseg_by_argument(self, evaluated):
        twin = ConDSeg(encoder="resnet18", decoder_channels=16, act="telu", cbat=True).eval()
        twin.load_state_dict(evaluated.state_dict())
        image = self.image(33, 47)
        with torch.no_grad():
            assert torch.equal(twin(image), evaluated(image))
            assert torch.equal(twin.predict_regions(image).regions, evaluated.predict_regions(image).regions)

    def test_features_are_the_encoder_s_maps_with_their_gradient(self):
        network, image = self.build().train(), self.image(64, 48)
        features = network(image).features
        assert [level.shape[1] for level in features] == list(network.encoder.channels)
        assert all(map(torch.equal, features, network.encoder(image)))
        features[3].sum().backward()
        assert network.encoder.conv1.weight.grad.abs().sum() > 0


class TestMedDisSegStage1(NetworkContract):
    def build(self, **arguments):
        return MedDisSegStage1(**{"encoder": "resnet18", **arguments})

    def train_outputs(self, output):
        assert isinstance(output, MedDisSegStage1Output)
        return [output.mask]

    def test_it_is_condsegs_first_stage_by_argument(self, evaluated):
        twin = ConDSegStage1(encoder="resnet18", act="telu", elat=True).eval()
        twin.load_state_dict(evaluated.state_dict())
        with torch.no_grad():
            assert torch.equal(twin(self.image(32, 32)), evaluated(self.image(32, 32)))

    def test_its_encoder_is_that_of_the_second_stage(self):
        second = MedDisSeg(encoder="resnet18", decoder_channels=16).encoder
        assert second.load_state_dict(self.build().encoder.state_dict()) == ([], [])
