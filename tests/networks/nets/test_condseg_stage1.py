"""The first-stage network keeps the contract, and its cheap order of operations is exact."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F

from condseg_monai import ConDSegStage1
from tests.networks.contract import NetworkContract


class TestConDSegStage1(NetworkContract):
    def build(self, **arguments):
        return ConDSegStage1(**{"encoder": "resnet18", **arguments})

    def test_convolving_first_is_exactly_upsampling_first_in_training_too(self):
        torch.manual_seed(0)
        network = self.build().double().train()
        plain = copy.deepcopy(network)
        image = self.image(48, 32).double()

        upsampled = [
            F.interpolate(feature, size=(48, 32), mode="bilinear", align_corners=True)
            for feature in plain.encoder(image)
        ]
        levels = [F.relu(level.norm(level.conv(x))) for level, x in zip(plain.levels, upsampled, strict=True)]
        expected = plain.fuse(torch.cat(levels, dim=1))
        output = network(image)
        torch.testing.assert_close(output, expected, rtol=1e-10, atol=1e-10)

        output.square().mean().backward()
        expected.square().mean().backward()
        for (name, ours), theirs in zip(network.named_parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-8, atol=1e-12, msg=name)
        for (name, ours), theirs in zip(network.named_buffers(), plain.buffers(), strict=True):
            torch.testing.assert_close(ours, theirs, msg=name)

    def test_wide_maps_never_exist_at_full_size(self):
        network = self.build(encoder="resnet50").eval()
        largest = 0

        def look(_module, _inputs, output):
            nonlocal largest
            if isinstance(output, torch.Tensor):
                largest = max(largest, output.shape[1] * output.shape[2] * output.shape[3])

        for module in network.modules():
            module.register_forward_hook(look)
        with torch.no_grad():
            network(self.image(64, 64, batch=1))
        assert largest <= 64 * 64 * 64
