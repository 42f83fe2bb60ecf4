"""Region weight."""

from __future__ import annotations

import math

import pytest
import torch

from condseg_monai.losses.region_weighting import region_weight
from tests import oracle


def logits_of(probability: float, batch: int = 1) -> torch.Tensor:
    return torch.full((batch, 1, 4, 4), math.log(probability / (1 - probability)), dtype=torch.float64)


@pytest.mark.parametrize("ceiling", [100.0, 1.5])
def test_equals_the_oracle(make_logits, ceiling):
    logits = make_logits(0)
    logits[1] -= 20  # beyond the ceiling
    expected = torch.from_numpy(oracle.beta(oracle.sigmoid(logits.numpy()), ceiling))
    torch.testing.assert_close(region_weight(logits, ceiling), expected, rtol=0, atol=1e-6)


def test_hand_worked_half_of_the_image():
    logits = torch.tensor([[[[100.0, -100.0]]]])
    assert region_weight(logits).tolist() == pytest.approx([1 / math.tanh(0.5)])


def test_gradient_is_that_of_the_equation():
    logits = logits_of(0.25).requires_grad_()
    region_weight(logits).sum().backward()
    expected = -1 / math.sinh(0.25) ** 2 * 0.25 * 0.75 / 16
    torch.testing.assert_close(logits.grad, torch.full_like(logits, expected))


def test_gradient_is_zero_at_the_ceiling():
    logits = logits_of(0.005).requires_grad_()
    weight = region_weight(logits)
    weight.sum().backward()
    assert weight.item() == pytest.approx(100)
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("ceiling", [1.0, -3.0, float("inf"), float("nan")])
def test_impossible_ceiling_raises(ceiling):
    with pytest.raises(ValueError, match=r"ceiling must be in \(1, inf\)"):
        region_weight(torch.zeros(1, 1, 4, 4), ceiling)
