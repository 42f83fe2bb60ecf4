"""Converted DEC-Seg checkpoints compute what the released networks do."""

from __future__ import annotations

import pytest
import torch

from condseg_monai import DECSeg
from condseg_monai.networks.released.condseg import RELEASED_MODELS, from_released
from condseg_monai.networks.released.dec_seg import merge_binary_logits
from tests import fill
from tests.networks.nets.test_dec_seg import FiveStages
from tests.networks.released.vectors import load, sample


def test_generator_equals_the_released_one_as_far_as_float32_tells():
    network = from_released(load("dec_seg_generator").state_dict(), "dec_seg_generator").double()
    with torch.no_grad():
        image = network(torch.from_numpy(fill.image(64, 64, name="logits", channels=2)).double())
    expected = load("dec_seg_generator").expected("eval_64x64")["out"].double()
    torch.testing.assert_close(sample(image), expected, rtol=0, atol=5e-5)  # of values up to 2.7


@pytest.mark.slow
def test_three_logits_equal_the_released_ones():
    network = from_released(load("dec_seg").state_dict(), "dec_seg")
    image, image_down = fill.image(128, 128), fill.image(64, 64, name="imagedown")
    with torch.no_grad():
        output = network.double().forward_scales(
            torch.from_numpy(image).double(), torch.from_numpy(image_down).double()
        )
    expected = load("dec_seg").expected("eval_128x128")
    for name, logits in zip(("out1", "out2", "out3"), output, strict=True):
        torch.testing.assert_close(sample(logits), expected[name], rtol=0, atol=1e-9, msg=name)


@pytest.mark.slow
def test_every_released_key_has_its_place_and_shape():
    """Without the four hundred million numbers: each key is a constant, and constants are found again."""
    build, _ = RELEASED_MODELS["dec_seg"]
    keys = load("dec_seg").json("keys")
    network = from_released({key: torch.zeros(()).expand(shape) for key, shape in keys.items()}, "dec_seg")
    assert isinstance(network, DECSeg)
    unused = {"encoder.resnet.fc.weight", "encoder.resnet.fc.bias"}
    assert len(network.state_dict()) == len(keys.keys() - unused)
    assert network.state_dict().keys() == build().state_dict().keys()


def test_a_missing_key_fails_by_its_name():
    keys = load("dec_seg").json("keys")
    del keys["main_decoder.dcf_out1.CBR3.0.weight"]
    with pytest.raises(ValueError, match=r"left without a value \[dcfs.4.gate.conv.weight\]"):
        from_released({key: torch.zeros(()).expand(shape) for key, shape in keys.items()}, "dec_seg")


def test_one_logit_is_the_softmax_of_two():
    torch.manual_seed(0)
    two, one = DECSeg(out_channels=2, encoder=FiveStages()).eval(), DECSeg(encoder=FiveStages()).eval()
    one.load_state_dict(merge_binary_logits(two.state_dict()))
    image = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(torch.sigmoid(one(image)), torch.softmax(two(image), dim=1)[:, 1:])
