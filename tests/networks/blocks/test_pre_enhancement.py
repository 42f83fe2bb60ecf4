"""Pre-enhancement's dilations are the released ones at 256 pixels, and shrink with the image."""

import pytest
import torch
from torch import nn

from condseg_monai import ConDSeg
from condseg_monai.networks.blocks.pre_enhancement import PreEnhancement


def dilations(block: nn.Module) -> list[int]:
    return [m.dilation[0] for m in block.branches.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]


@pytest.mark.parametrize(
    ("image_size", "expected"), [(256, [6, 12, 18]), (96, [2, 4, 7]), (16, [1, 1, 1]), (352, [8, 16, 25])]
)
def test_dilations_scale_with_the_image(image_size, expected):
    network = ConDSeg(encoder="resnet18", decoder_channels=4, dilation_scale=image_size / 256)
    assert [dilations(block) for block in network.pre_enhancements] == [expected] * 4
    assert dilations(PreEnhancement(8, 4)) == [6, 12, 18]


def test_scaled_dilations_leave_no_weight_without_a_gradient():
    """On the 12x12 map of a 96 pixel image at stride 8, the released dilations 12 and 18 see nothing but padding."""
    torch.manual_seed(0)
    for scale, expected in ((1.0, [True, False, False]), (96 / 256, [True, True, True])):
        block = PreEnhancement(8, 4, dilation_scale=scale)
        block(torch.rand(2, 8, 12, 12)).square().sum().backward()
        gradients = [branch[0].conv.weight.grad for branch in list(block.branches)[1:]]
        assert [bool((g.abs().sum(dim=(0, 1)) > 0).all()) for g in gradients] == expected


def test_a_scale_that_is_not_positive_raises():
    with pytest.raises(ValueError, match="dilation_scale must be positive, got 0"):
        ConDSeg(dilation_scale=0)
