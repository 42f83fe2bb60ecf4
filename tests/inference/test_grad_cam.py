"""Grad-CAM of the mask is that of its paper, and comes beside the masks."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from condseg_monai import ConDSeg, RegionInferer
from condseg_monai.inference.grad_cam import lesion_cam


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return ConDSeg(encoder="resnet18", decoder_channels=8).eval()


def expected_maps(network, images, layer):
    """Weights are the means of the gradients of the summed logits; what is negative is left out."""
    kept = {}
    handle = network.get_submodule(layer).register_forward_hook(lambda *call: kept.update(activation=call[2]))
    logits = network(images)
    handle.remove()
    (gradient,) = torch.autograd.grad(logits.sum(), kept["activation"])
    maps = F.relu((gradient.mean(dim=(2, 3), keepdim=True) * kept["activation"]).sum(dim=1, keepdim=True))
    maps = F.interpolate(maps, images.shape[2:], mode="bilinear", align_corners=False)
    return (maps / maps.amax(dim=(1, 2, 3), keepdim=True)).detach()


@pytest.mark.parametrize("layer", ["cdfas.0", "encoder.layer3"])
def test_maps_are_those_of_the_paper(network, layer):
    images = torch.rand(2, 3, 48, 64)
    with torch.no_grad():  # as an evaluator has it
        maps = lesion_cam(network, layer)(images)
    assert maps.shape == (2, 1, 48, 64)
    torch.testing.assert_close(maps, expected_maps(network, images, layer))


def test_a_map_without_evidence_is_zero(network):
    with torch.no_grad():
        maps = lesion_cam(torch.nn.Sequential(torch.nn.Conv2d(3, 1, 1), torch.nn.Flatten(0, 1)), "0")
    assert not maps(torch.zeros(1, 3, 4, 4)).isnan().any()


def test_inferer_gives_it_beside_the_logits_and_the_uncertainty(network):
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        both = RegionInferer(uncertainty=True, gradcam_layer="cdfas.0")(images, network)
        alone = RegionInferer(gradcam_layer="cdfas.0")(images, network)
        assert torch.equal(alone["pred"], network(images))
    assert sorted(both) == ["gradcam", "pred", "uncertainty"] and sorted(alone) == ["gradcam", "pred"]
    assert torch.equal(both["gradcam"], alone["gradcam"])
    assert not any(value.requires_grad for value in both.values())


def test_unknown_layer_is_named(network):
    with pytest.raises(ValueError, match=r"gradcam_layer must name a module of ConDSeg, as .* does .*, got 'outptu'"):
        lesion_cam(network, "outptu")
