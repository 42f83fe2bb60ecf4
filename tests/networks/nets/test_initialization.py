"""Initial weights of everything after the encoder."""

import pytest
import torch

from condseg_monai import ConDSeg
from condseg_monai.networks.ops.local_attention import window_attention


@pytest.fixture(params=["paper", "released"])
def network(request):
    torch.manual_seed(0)
    return ConDSeg(encoder="resnet18", decoder_channels=8, cdfa=request.param)


def test_attention_starts_close_to_the_identity(network):
    """Constant region features see the biases alone: e**4 for the position itself, 1 for the 8 others."""
    expected = torch.full((9, 9), 1.0).fill_diagonal_(torch.e**4) / (torch.e**4 + 8)
    for cdfa in network.cdfas:
        for conv in (cdfa.foreground_attention, cdfa.background_attention):
            attention = cdfa._attention(conv(torch.zeros(1, 8, 5, 5)))
            torch.testing.assert_close(attention[0, -1, :, :, 2, 2], expected)


def test_cdfa_starts_sharp(network):
    """Most of an impulse stays where it is, instead of being spread over 5x5 pixels."""
    cdfa = network.cdfas[0]
    impulse = torch.zeros(1, 8, 9, 9)
    impulse[:, :, 4, 4] = 1
    out = window_attention(impulse, cdfa._attention(cdfa.foreground_attention(torch.zeros(1, 8, 9, 9))))
    assert (out[0, :, 4, 4] / out[0].sum(dim=(1, 2)) > 0.85).all()


@pytest.mark.parametrize("out_channels", [1, 2, 9])
def test_heads_start_from_what_is_rare(out_channels):
    network = ConDSeg(encoder="resnet18", decoder_channels=8, out_channels=out_channels)
    heads = [network.foreground_head, network.background_head, network.uncertainty_head]
    assert [torch.sigmoid(head.logits.bias).item() for head in heads] == pytest.approx([0.119, 0.881, 0.119], abs=1e-3)
    bias = network.output.logits.bias
    if out_channels == 1:
        assert bias.tolist() == [-2.0]
    else:  # the classes share what is rare
        expected = [0.881] + [0.119 / (out_channels - 1)] * (out_channels - 1)
        assert bias.softmax(dim=0).tolist() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("channels", [4, pytest.param(16, marks=pytest.mark.slow)])
def test_no_head_starts_below_its_prior_everywhere(channels):
    """Features are not negative, so weights of one sign would keep every logit on one side of the bias for ever."""
    for seed in range(10):
        torch.manual_seed(seed)
        network = ConDSeg(encoder="resnet18", decoder_channels=channels, out_channels=2)
        heads = (network.output, network.foreground_head, network.background_head, network.uncertainty_head)
        for logits in (head.logits for head in heads):
            weights = logits.weight.flatten(1)
            assert (weights.max(dim=1).values > 0).all() and (weights.min(dim=1).values < 0).all()
            torch.testing.assert_close(logits(torch.ones(1, weights.shape[1], 1, 1)).flatten(), logits.bias)
