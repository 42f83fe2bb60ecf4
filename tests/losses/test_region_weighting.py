from __future__ import annotations

import math

import pytest
import torch

from condseg_monai.losses import RegionWeight, region_weight
from tests import oracle


def logits_of(probability: float, batch: int = 1) -> torch.Tensor:
    return torch.full((batch, 1, 4, 4), math.log(probability / (1 - probability)), dtype=torch.float64)


@pytest.mark.parametrize("ceiling", [100.0, 1.5])
def test_equals_the_oracle(make_logits, ceiling):
    logits = make_logits(0)
    logits[1] -= 20  # beyond the ceiling
    expected = torch.from_numpy(oracle.beta(oracle.sigmoid(logits.numpy()), ceiling))
    torch.testing.assert_close(region_weight(logits, ceiling), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(RegionWeight(ceiling)(logits), expected, rtol=0, atol=1e-6)


def test_hand_worked_half_of_the_image():
    logits = torch.tensor([[[[100.0, -100.0]]]])
    assert region_weight(logits).tolist() == pytest.approx([1 / math.tanh(0.5)])


def test_only_the_predicted_area_counts(make_logits):
    logits = make_logits(1)
    shuffled = logits.flatten(2)[..., torch.randperm(35, generator=torch.Generator().manual_seed(0))].view_as(logits)
    torch.testing.assert_close(region_weight(shuffled), region_weight(logits))


def test_smaller_region_weighs_more():
    weights = [region_weight(logits_of(area)).item() for area in (0.9, 0.5, 0.1, 0.02)]
    assert weights == sorted(weights)


def test_an_image_has_the_same_weight_in_any_company(make_logits):
    logits = make_logits(2)
    alone = torch.cat([region_weight(logits[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(region_weight(logits), alone)


def test_gradcheck(make_logits):
    assert torch.autograd.gradcheck(region_weight, make_logits(3).requires_grad_())


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


def test_saturated_half_precision_is_finite(half_dtype, saturation):
    logits = torch.full((2, 1, 4, 4), saturation, dtype=half_dtype, requires_grad=True)
    weight = region_weight(logits)
    weight.sum().backward()
    assert weight.dtype == torch.float32
    assert weight.tolist() == pytest.approx([100, 100] if saturation < 0 else [1 / math.tanh(1)] * 2)
    assert logits.grad.isfinite().all()


def test_autocast_changes_nothing(make_logits):
    logits = make_logits(4).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = region_weight(logits)
    torch.testing.assert_close(inside, region_weight(logits), rtol=0, atol=0)


def test_wrong_shape_raises():
    with pytest.raises(ValueError, match=r"input must be \(B, 1, H, W\)"):
        region_weight(torch.zeros(2, 3, 4, 4))


def test_integer_logits_raise():
    with pytest.raises(TypeError, match="input must be floating point"):
        region_weight(torch.zeros(2, 1, 4, 4, dtype=torch.uint8))


@pytest.mark.parametrize("ceiling", [1.0, -3.0, float("inf"), float("nan")])
def test_impossible_ceiling_raises(ceiling):
    with pytest.raises(ValueError, match="ceiling must be finite and above 1"):
        RegionWeight(ceiling)
    with pytest.raises(ValueError, match="ceiling must be finite and above 1"):
        region_weight(torch.zeros(1, 1, 4, 4), ceiling)
