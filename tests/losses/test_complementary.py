from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from condseg_monai.losses import ComplementaryLoss, complementary_loss
from tests import oracle


@pytest.fixture
def region_probs(make_logits) -> torch.Tensor:
    return torch.cat([make_logits(seed) for seed in range(3)], dim=1).softmax(dim=1)


def test_equals_the_oracle(region_probs):
    expected = oracle.complementary_loss(region_probs.numpy()).mean()
    assert complementary_loss(region_probs).item() == pytest.approx(expected, abs=1e-6)
    assert ComplementaryLoss()(region_probs).item() == pytest.approx(expected, abs=1e-6)


def test_hand_worked_pixels():
    pixels = torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.5, 0.0]]).T.reshape(1, 3, 1, 2)
    expected = ((0.125 + 0.125 + 0.0625) + 0.25) / 2
    assert complementary_loss(pixels).item() == pytest.approx(expected)


def test_loss_is_zero_for_one_hot_regions():
    regions = F.one_hot(torch.arange(12) % 3, 3).T.reshape(1, 3, 3, 4)
    assert complementary_loss(regions.float()).item() == 0


def test_loss_is_largest_for_equal_regions(region_probs):
    equal = complementary_loss(torch.full((1, 3, 4, 4), 1 / 3)).item()
    assert equal == pytest.approx(1 / 3)
    assert complementary_loss(region_probs).item() < equal


def test_order_of_the_regions_does_not_matter(region_probs):
    for order in itertools.permutations(range(3)):
        torch.testing.assert_close(complementary_loss(region_probs[:, order]), complementary_loss(region_probs))


def test_batch_value_is_the_mean_of_its_images(region_probs):
    alone = torch.stack([complementary_loss(region_probs[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(complementary_loss(region_probs), alone.mean())


def test_batch_of_two_copies_gives_same_loss(region_probs):
    torch.testing.assert_close(complementary_loss(region_probs.repeat(2, 1, 1, 1)), complementary_loss(region_probs))


def test_gradcheck(region_probs):
    assert torch.autograd.gradcheck(complementary_loss, region_probs.requires_grad_())


def test_half_precision_probabilities_are_averaged_in_float32(half_dtype):
    probs = torch.zeros(1, 3, 300, 300, dtype=half_dtype)
    probs[:, :2] = 0.5
    loss = complementary_loss(probs)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0.25)


def test_autocast_changes_nothing(region_probs):
    probs = region_probs.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = complementary_loss(probs)
    torch.testing.assert_close(inside, complementary_loss(probs), rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(2, 2, 4, 4), (2, 1, 4, 4), (3, 4, 4), (0, 3, 4, 4)])
def test_wrong_shape_raises(shape):
    with pytest.raises(ValueError, match=r"region_probs must be \(B, 3, H, W\)"):
        complementary_loss(torch.zeros(shape))


def test_integer_regions_raise():
    with pytest.raises(TypeError, match="region_probs must be floating point"):
        complementary_loss(torch.zeros(1, 3, 4, 4, dtype=torch.int64))
