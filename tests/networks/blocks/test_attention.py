"""ELAT and CBAM, against the gates computed one position at a time."""

from __future__ import annotations

import pytest
import torch

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
    output = block(x)
    for row, column in ((0, 0), (3, 4), (6, 8), (1, 7)):
        seen = []
        for dilation, conv in zip((1, 2, 3), block.ranges, strict=True):
            total = conv.bias.clone().expand(2)
            for i in (-1, 0, 1):
                for j in (-1, 0, 1):
                    r, c = row + dilation * i, column + dilation * j
                    if 0 <= r < 7 and 0 <= c < 9:
                        total = total + x[:, :, r, c] @ conv.weight[0, :, i + 1, j + 1]
            seen.append(total)
        spatial = torch.sigmoid(torch.stack(seen, dim=1) @ block.fuse.weight.flatten() + block.fuse.bias)
        torch.testing.assert_close(output[:, :, row, column], x[:, :, row, column] * channel * spatial[:, None])


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
    window = torch.zeros(2, 2, 7, 7, dtype=torch.float64)  # around the corner (0, 0)
    window[:, :, 3:, 3:] = summary[:, :, :4, :4]
    conv = block.spatial_attention.conv
    spatial = torch.sigmoid((window * conv.weight).sum(dim=(1, 2, 3)) + conv.bias)
    torch.testing.assert_close(block(x)[:, :, 0, 0], weighed[:, :, 0, 0] * spatial[:, None])


def test_cbat_decoder_is_the_size_aware_one_with_cbam_behind_it():
    torch.manual_seed(0)
    decoder = SizeAwareDecoder(16, act="telu", cbat=True).eval()
    plain = SizeAwareDecoder(16, act="telu").eval()
    plain.load_state_dict({k: v for k, v in decoder.state_dict().items() if not k.startswith("cbam.")})
    fine, deeper = torch.rand(1, 16, 8, 6), torch.rand(1, 16, 4, 3)
    torch.testing.assert_close(decoder(fine, deeper), decoder.cbam(plain(fine, deeper)))
