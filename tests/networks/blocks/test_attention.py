"""ELAT and CBAM against their gates."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from condseg_monai.networks.blocks.cbam import CBAM
from condseg_monai.networks.blocks.elat import ELAT
from condseg_monai.networks.blocks.sa_decoder import SizeAwareDecoder


@pytest.fixture
def x():
    return torch.randn(2, 16, 7, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def telu(x):
    return x * torch.tanh(torch.exp(x))


def test_elat_is_its_two_gates(x):
    torch.manual_seed(0)
    block = ELAT(16).double()
    pooled = x.mean(dim=(2, 3))
    hidden = telu(pooled @ block.fc1.weight.flatten(1).T)
    assert hidden.shape == (2, 2)  # reduction 8
    channel = torch.sigmoid(hidden @ block.fc2.weight.flatten(1).T)
    seen = [
        F.conv2d(x, conv.weight, conv.bias, padding=dilation, dilation=dilation)
        for dilation, conv in zip((1, 2, 3), block.ranges, strict=True)
    ]
    spatial = torch.sigmoid(F.conv2d(torch.cat(seen, dim=1), block.fuse.weight, block.fuse.bias))
    torch.testing.assert_close(block(x), x * channel[:, :, None, None] * spatial)


def test_cbam_has_biases_and_its_activation(x):
    torch.manual_seed(0)
    block = CBAM(16, act="telu").double()
    attention = block.channel_attention

    def perceptron(pooled):
        hidden = telu(pooled @ attention.fc1.weight.flatten(1).T + attention.fc1.bias)
        return hidden @ attention.fc2.weight.flatten(1).T + attention.fc2.bias

    channel = torch.sigmoid(perceptron(x.mean(dim=(2, 3))) + perceptron(x.amax(dim=(2, 3))))
    weighed = x * channel[:, :, None, None]
    summary = torch.stack([weighed.mean(dim=1), weighed.amax(dim=1)], dim=1)
    conv = block.spatial_attention.conv
    spatial = torch.sigmoid(F.conv2d(summary, conv.weight, conv.bias, padding=3))
    torch.testing.assert_close(block(x), weighed * spatial)


def test_cbat_decoder_is_the_size_aware_one_with_cbam_behind_it():
    torch.manual_seed(0)
    decoder = SizeAwareDecoder(16, act="telu", cbat=True).eval()
    plain = SizeAwareDecoder(16, act="telu").eval()
    plain.load_state_dict({k: v for k, v in decoder.state_dict().items() if not k.startswith("cbam.")})
    fine, deeper = torch.rand(1, 16, 8, 6), torch.rand(1, 16, 4, 3)
    torch.testing.assert_close(decoder(fine, deeper), decoder.cbam(plain(fine, deeper)))
