"""Complementary loss."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from condseg_monai.losses.complementary import complementary_loss
from tests import oracle


@pytest.fixture
def region_probs(make_logits) -> torch.Tensor:
    return torch.cat([make_logits(seed) for seed in range(3)], dim=1).softmax(dim=1)


def test_equals_the_oracle(region_probs):
    expected = oracle.complementary_loss(region_probs.numpy()).mean()
    assert complementary_loss(region_probs).item() == pytest.approx(expected, abs=1e-6)


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
