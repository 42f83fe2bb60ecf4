"""DECSeg keeps the contract, in each form and on each kind of encoder."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from condseg_monai import DECSeg, Encoder
from condseg_monai.networks.nets import DECSegOutput
from condseg_monai.networks.nets.dec_seg import down_scale_size
from tests.networks.contract import NetworkContract


class FiveStages(Encoder):
    """As many stages as Res2Net-50 gives DEC-Seg, in a few thousand weights."""

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        self.channels, self.strides = (4, 6, 8, 8, 8), (2, 4, 8, 16, 32)
        widths = (in_channels, *self.channels)
        self.convs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(widths[i], widths[i + 1], 3, stride=2, padding=1), nn.BatchNorm2d(widths[i + 1]))
            for i in range(5)
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps: list[torch.Tensor] = []
        for conv in self.convs:
            x = torch.relu(conv(x))
            maps.append(x)
        return maps


class TestDECSeg(NetworkContract):
    stride = 32
    # An export takes no size whose down-scaled copy ends in a single pixel: PyTorch makes a special case of one.
    export_from = 65
    export_example = (128, 160)
    export_sizes = ((128, 128, 2), (79, 150, 1), (65, 72, 3))

    def build(self, **arguments):
        if "encoder" not in arguments:
            arguments["encoder"] = FiveStages(max(1, arguments.get("in_channels", 3)))
        return DECSeg(**arguments)

    def train_outputs(self, output):
        assert isinstance(output, DECSegOutput)
        return list(output)

    def test_mask_is_that_of_the_scales_it_makes_itself(self, evaluated):
        image = self.image(128, 96)
        down = F.interpolate(image, size=(64, 64), mode="bilinear", align_corners=False)  # 96 / 2 / 32 is 1.5: 2
        with torch.no_grad():
            output = evaluated.forward_scales(image, down)
            assert torch.equal(output.mask, evaluated(image))
        assert [tuple(logits.shape[2:]) for logits in output] == [(128, 96), (64, 64), (128, 96)]

    def test_scales_of_any_size_are_taken(self, evaluated):
        with torch.no_grad():
            output = evaluated.forward_scales(self.image(70, 45), self.image(37, 20))
        assert [tuple(logits.shape[2:]) for logits in output] == [(70, 45), (37, 20), (70, 45)]

    def test_training_upsamples_the_down_scale(self):
        network = self.build().train()
        for module in network.modules():  # no difference between two passes but the sizes
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        image = self.image(64, 128)
        down = F.interpolate(image, size=(32, 64), mode="bilinear", align_corners=False)
        with torch.no_grad():
            found, scales = network(image), network.forward_scales(image, down)
        upsampled = F.interpolate(scales.down_scale, size=(64, 128), mode="bilinear", align_corners=False)
        torch.testing.assert_close(found.down_scale, upsampled)
        torch.testing.assert_close(found.full_scale, scales.full_scale)
        torch.testing.assert_close(found.mask, scales.mask)

    def test_a_training_batch_of_one_and_a_fusion_of_one_scale_are_refused(self):
        with pytest.raises(ValueError, match="at least 2 images"):
            self.build().train()(self.image(32, 32, batch=1))
        with pytest.raises(ValueError, match="it needs down_scale"):
            self.build(down_scale=False)


FORMS = {
    "on four stages": {"encoder": "resnet18"},
    "without CFA": {"cfa": False},
    "without DCF": {"dcf": False},
    "of one scale": {"down_scale": False, "dcf": False},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_segments_any_size_and_trains_all_it_has(form):
    torch.manual_seed(0)
    network = DECSeg(**{"encoder": FiveStages(), **FORMS[form]})
    image = torch.rand(2, 3, 47, 70)
    outputs = [logits for logits in network.train()(image) if logits is not None]
    assert {tuple(logits.shape) for logits in outputs} == {(2, 1, 47, 70)}
    assert len(outputs) == {"without DCF": 2, "of one scale": 1}.get(form, 3)
    sum(logits.square().mean() for logits in outputs).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    with torch.no_grad():
        assert network.eval()(image).shape == (2, 1, 47, 70)


def test_without_dcf_the_mask_is_the_full_scale_and_evaluation_decodes_nothing_else():
    network, image, ran = DECSeg(encoder=FiveStages(), dcf=False).eval(), torch.rand(2, 3, 64, 64), []
    with torch.no_grad():
        full, down, mask = network.forward_scales(image, torch.rand(2, 3, 32, 32))
        assert full is None
        assert down.shape[2:] == (32, 32)
        network.down_decoder.register_forward_hook(lambda *_: ran.append("down"))
        assert torch.equal(mask, network(image))
    assert ran == []


def test_what_a_form_lacks_has_no_weights():
    network = DECSeg(encoder=FiveStages(), cfa=False, down_scale=False, dcf=False)
    assert {name.split(".")[0] for name in network.state_dict()} == {"encoder", "full_decoder"}
    assert network.train()(torch.rand(2, 3, 32, 32))[:2] == (None, None)


@pytest.mark.parametrize("stride", [16, 32])
def test_down_scale_is_the_rounded_half_and_at_least_a_stride(stride):
    for multiple in range(1, 40):
        assert down_scale_size(multiple * stride, stride) == math.floor(multiple / 2 + 0.5) * stride
    assert [down_scale_size(size, 32) for size in (256, 352)] == [128, 192]  # as released


def test_default_size_is_the_released_one():
    with torch.device("meta"):
        network = DECSeg(out_channels=2)
    assert network.encoder.strides == (2, 4, 8, 16, 32)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 1) == 422.8
