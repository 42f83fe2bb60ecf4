"""The generator draws an image of any size, and lets the gradient through to the prediction."""

from __future__ import annotations

import pytest
import torch

from condseg_monai.networks.nets import ImageGenerator


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (33, 50)])
@pytest.mark.parametrize("in_channels", [1, 2])
def test_image_has_the_size_of_the_logits(size, in_channels):
    with torch.no_grad():
        assert ImageGenerator(in_channels).eval()(torch.rand(2, in_channels, *size)).shape == (2, 3, *size)


def test_gradient_reaches_every_parameter_and_the_logits():
    torch.manual_seed(0)
    generator, logits = ImageGenerator(1, 3).train(), torch.rand(2, 1, 32, 32, requires_grad=True)
    (generator(logits) - 1).square().mean().backward()
    assert [name for name, p in generator.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    assert logits.grad.abs().sum() > 0


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    generator, logits = ImageGenerator().train(), torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        assert not torch.equal(generator(logits), generator(logits))
        generator.eval()
        assert torch.equal(generator(logits), generator(logits))


def test_no_channels_and_flat_logits_raise():
    with pytest.raises(ValueError, match="must be positive"):
        ImageGenerator(0)
    with pytest.raises(ValueError, match=r"must be \(B, C, H, W\)"):
        ImageGenerator()(torch.zeros(1, 16, 16))
