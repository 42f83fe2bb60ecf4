from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss

from condseg_monai.losses import MaskLoss, class_mask_loss, mask_loss
from tests import oracle


def test_equals_the_oracle(make_logits, target):
    logits = make_logits(0)
    expected = oracle.mask_loss(target.numpy(), oracle.sigmoid(logits.numpy()))
    torch.testing.assert_close(
        mask_loss(logits, target, reduction="none"), torch.from_numpy(expected), rtol=0, atol=1e-6
    )
    torch.testing.assert_close(mask_loss(logits, target).item(), expected.mean(), rtol=0, atol=1e-6)


def test_equals_monai_dice_plus_cross_entropy(make_logits, target):
    logits = make_logits(1)
    expected = DiceCELoss(sigmoid=True, smooth_nr=1e-5, smooth_dr=1e-5)(logits, target)
    torch.testing.assert_close(mask_loss(logits, target), expected)


def test_cross_entropy_is_weighed_as_monai_does(make_logits, target):
    logits = make_logits(1)
    expected = DiceCELoss(sigmoid=True, smooth_nr=1e-5, smooth_dr=1e-5, lambda_ce=0.2)(logits, target)
    torch.testing.assert_close(mask_loss(logits, target, lambda_ce=0.2), expected)
    module = MaskLoss(lambda_ce=0.2)
    torch.testing.assert_close(module(logits, target), expected)
    assert repr(module) == "MaskLoss(reduction='mean', lambda_ce=0.2, balance=0.0)"


@pytest.mark.parametrize("factor", [-0.1, math.inf, math.nan])
def test_factor_must_be_finite_and_not_negative(factor, make_logits, target):
    with pytest.raises(ValueError, match="lambda_ce must be finite and not negative"):
        MaskLoss(lambda_ce=factor)
    with pytest.raises(ValueError, match="lambda_ce must be finite and not negative"):
        mask_loss(make_logits(0), target, lambda_ce=factor)


def balanced_cross_entropy(logits: torch.Tensor, target: torch.Tensor, balance: float) -> torch.Tensor:
    """The balanced cross-entropy of each image: the plain loss swaps its own for it."""
    dice = mask_loss(logits, target, reduction="none", lambda_ce=0)
    return mask_loss(logits, target, reduction="none", balance=balance) - dice


@pytest.mark.parametrize("balance", [0.3, 0.5, 1.0])
def test_balance_is_that_of_two_classes(make_logits, target, balance):
    logits = make_logits(8)
    both = torch.cat([torch.zeros_like(logits), logits], dim=1)
    classes = class_mask_loss(both, target, reduction="none", balance=balance)
    classes -= class_mask_loss(both, target, reduction="none", lambda_ce=0)
    torch.testing.assert_close(balanced_cross_entropy(logits, target, balance), classes)
    plain = balanced_cross_entropy(logits, target, 0.0)
    torch.testing.assert_close(classes[1:], plain[1:])  # an empty and a full mask have one class each
    assert (classes[0] - plain[0]).abs() > 1e-3


def test_full_balance_gives_lesion_and_background_equal_weight(make_logits, target):
    logits = make_logits(9)[:1]
    losses = F.binary_cross_entropy_with_logits(logits, target[:1], reduction="none")
    lesion = target[:1] == 1
    expected = (losses[lesion].mean() + losses[~lesion].mean()) / 2
    torch.testing.assert_close(balanced_cross_entropy(logits, target[:1], 1.0)[0], expected)


def test_a_soft_pixel_weighs_for_both_in_its_shares():
    logits = torch.tensor([[[[math.log(3), -math.log(3), 0.0]]]])  # probabilities 3/4, 1/4, 1/2
    target = torch.tensor([[[[1.0, 0.0, 0.25]]]])
    lesion, background = 1.25**-0.5, 1.75**-0.5
    weights = [lesion, background, 0.25 * lesion + 0.75 * background]
    losses = [-math.log(3 / 4), -math.log(3 / 4), math.log(2)]
    expected = sum(weight * loss for weight, loss in zip(weights, losses, strict=True)) / sum(weights)
    assert balanced_cross_entropy(logits, target, 0.5).item() == pytest.approx(expected, abs=1e-6)


def test_the_more_balance_the_dearer_a_missed_small_lesion():
    target = torch.zeros(1, 1, 4, 4)
    target[..., 0, 0] = 1
    logits = torch.full((1, 1, 4, 4), -2.0)
    values = [mask_loss(logits, target, balance=balance).item() for balance in (0, 0.25, 0.5, 0.75, 1)]
    assert values == sorted(values) and len(set(values)) == 5


def test_without_balance_pixels_are_averaged(make_logits, target):
    logits = make_logits(10)
    plain, explicit = MaskLoss(reduction="none"), MaskLoss(reduction="none", balance=0.0)
    torch.testing.assert_close(explicit(logits, target), plain(logits, target), rtol=0, atol=0)
    expected = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=(1, 2, 3))
    torch.testing.assert_close(balanced_cross_entropy(logits, target, 0.0), expected)


def test_module_passes_its_balance_on(make_logits, target):
    module = MaskLoss(balance=0.5)
    assert module(make_logits(0), target) == mask_loss(make_logits(0), target, balance=0.5)
    assert "balance=0.5" in repr(module)  # what a resumed run is held against


@pytest.mark.parametrize("balance", [-0.1, 1.1, math.nan])
def test_balance_out_of_range_raises(make_logits, target, balance):
    with pytest.raises(ValueError, match=r"^balance must be in \[0, 1\]"):
        mask_loss(make_logits(0), target, balance=balance)
    with pytest.raises(ValueError, match=r"^balance must be in \[0, 1\]"):
        MaskLoss(balance=balance)


@pytest.mark.parametrize("balance", [0.5, 1.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_balance_of_an_empty_or_full_mask_is_finite(dtype, balance, saturation, uniform_target):
    logits = torch.full((2, 1, 4, 4), saturation, dtype=dtype, requires_grad=True)
    loss = mask_loss(logits, uniform_target.to(dtype), balance=balance)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite()
    assert logits.grad.dtype == dtype and logits.grad.isfinite().all()


def test_hand_worked_image():
    logits = torch.tensor([[[[math.log(3), -math.log(3)]]]])  # probabilities 3/4 and 1/4
    target = torch.tensor([[[[1.0, 0.0]]]])
    cross_entropy = -math.log(3 / 4)
    dice = 1 - (2 * 0.75) / (1 + 1)
    assert mask_loss(logits, target).item() == pytest.approx(cross_entropy + dice, abs=1e-5)


def test_empty_prediction_of_an_empty_mask_costs_nothing():
    assert mask_loss(torch.full((1, 1, 4, 4), -1e4), torch.zeros(1, 1, 4, 4)).item() == 0


def test_reductions_are_of_the_images(make_logits, target):
    logits = make_logits(2)
    per_image = mask_loss(logits, target, reduction="none")
    assert per_image.shape == (3,)
    torch.testing.assert_close(mask_loss(logits, target), per_image.mean())
    torch.testing.assert_close(mask_loss(logits, target, reduction="sum"), per_image.sum())
    torch.testing.assert_close(MaskLoss(reduction="sum")(logits, target), per_image.sum())


def test_an_image_has_the_same_loss_in_any_company(make_logits, target):
    logits = make_logits(3)
    alone = torch.cat([mask_loss(logits[i : i + 1], target[i : i + 1], reduction="none") for i in range(3)])
    torch.testing.assert_close(mask_loss(logits, target, reduction="none"), alone)
    torch.testing.assert_close(mask_loss(logits.repeat(2, 1, 1, 1), target.repeat(2, 1, 1, 1)), alone.mean())


def test_flipping_image_and_mask_together_changes_nothing(make_logits, target):
    logits = make_logits(4)
    torch.testing.assert_close(mask_loss(logits.flip(-1), target.flip(-1)), mask_loss(logits, target))


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("softness", [0.0, 0.1])
def test_gradcheck(make_logits, target, balance, softness):
    logits, labels = make_logits(5).requires_grad_(), (1 - softness) * target + softness / 2
    assert torch.autograd.gradcheck(lambda x: mask_loss(x, labels, reduction="none", balance=balance), logits)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16])
def test_label_type_does_not_matter(make_logits, target, dtype):
    logits = make_logits(6)
    torch.testing.assert_close(mask_loss(logits, target.to(dtype)), mask_loss(logits, target), rtol=0, atol=0)


def test_saturated_half_precision_is_finite(half_dtype, saturation, uniform_target):
    logits = torch.full((2, 1, 4, 4), saturation, dtype=half_dtype, requires_grad=True)
    loss = mask_loss(logits, uniform_target)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert logits.grad.dtype == half_dtype
    assert logits.grad.isfinite().all()


def test_saturated_wrong_prediction_still_learns():
    logits = torch.full((1, 1, 4, 4), -1e4, requires_grad=True)
    mask_loss(logits, torch.ones(1, 1, 4, 4)).backward()
    assert (logits.grad < 0).all()


def test_autocast_changes_nothing(make_logits, target):
    logits, target = make_logits(7).float(), target.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = mask_loss(logits, target)
    torch.testing.assert_close(inside, mask_loss(logits, target), rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 2, 4, 4), (2, 1, 4, 4, 4), (0, 1, 4, 4)])
def test_wrong_input_shape_raises(shape):
    with pytest.raises(ValueError, match=r"input must be \(B, 1, H, W\) and not empty, got"):
        mask_loss(torch.zeros(shape), torch.zeros(shape))


def test_shapes_are_not_broadcast():
    with pytest.raises(ValueError, match="input and target must have the same shape"):
        mask_loss(torch.zeros(2, 1, 4, 4), torch.zeros(1, 1, 4, 4))


def test_integer_logits_raise():
    with pytest.raises(TypeError, match=r"input must be floating point, got torch\.int64"):
        mask_loss(torch.zeros(1, 1, 4, 4, dtype=torch.int64), torch.zeros(1, 1, 4, 4))


def test_complex_target_raises():
    with pytest.raises(TypeError, match="target must be boolean, integer or floating point"):
        mask_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.complex64))


def test_something_else_than_a_tensor_raises():
    with pytest.raises(TypeError, match="input must be a tensor, got list"):
        mask_loss([0.0], torch.zeros(1, 1, 4, 4))


def test_unknown_reduction_raises():
    with pytest.raises(ValueError, match="reduction must be 'mean', 'sum' or 'none', got 'median'"):
        mask_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), reduction="median")
    with pytest.raises(ValueError, match="got 'median'"):
        MaskLoss(reduction="median")
