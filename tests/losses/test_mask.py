"""Mask loss."""

from __future__ import annotations

import math

import pytest
import torch
from monai.losses import DiceCELoss

from condseg_monai.losses import MaskLoss
from condseg_monai.losses.class_mask import class_mask_loss
from condseg_monai.losses.mask import mask_loss
from tests import oracle


def test_equals_the_oracle(make_logits, target):
    logits = make_logits(0)
    expected = oracle.mask_loss(target.numpy(), oracle.sigmoid(logits.numpy()))
    torch.testing.assert_close(
        mask_loss(logits, target, reduction="none"), torch.from_numpy(expected), rtol=0, atol=1e-6
    )
    torch.testing.assert_close(mask_loss(logits, target).item(), expected.mean(), rtol=0, atol=1e-6)


def test_cross_entropy_is_weighed_as_monai_does(make_logits, target):
    logits = make_logits(1)
    expected = DiceCELoss(sigmoid=True, smooth_nr=1e-5, smooth_dr=1e-5, lambda_ce=0.2)(logits, target)
    torch.testing.assert_close(mask_loss(logits, target, lambda_ce=0.2), expected)
    module = MaskLoss(lambda_ce=0.2)
    torch.testing.assert_close(module(logits, target), expected)
    assert repr(module) == "MaskLoss(reduction='mean', lambda_ce=0.2, balance=0.0)"


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


def test_a_soft_pixel_weighs_for_both_in_its_shares():
    logits = torch.tensor([[[[math.log(3), -math.log(3), 0.0]]]])  # probabilities 3/4, 1/4, 1/2
    target = torch.tensor([[[[1.0, 0.0, 0.25]]]])
    lesion, background = 1.25**-0.5, 1.75**-0.5
    weights = [lesion, background, 0.25 * lesion + 0.75 * background]
    losses = [-math.log(3 / 4), -math.log(3 / 4), math.log(2)]
    expected = sum(weight * loss for weight, loss in zip(weights, losses, strict=True)) / sum(weights)
    assert balanced_cross_entropy(logits, target, 0.5).item() == pytest.approx(expected, abs=1e-6)


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


def test_flipping_image_and_mask_together_changes_nothing(make_logits, target):
    logits = make_logits(4)
    torch.testing.assert_close(mask_loss(logits.flip(-1), target.flip(-1)), mask_loss(logits, target))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16])
def test_label_type_does_not_matter(make_logits, target, dtype):
    logits = make_logits(6)
    torch.testing.assert_close(mask_loss(logits, target.to(dtype)), mask_loss(logits, target), rtol=0, atol=0)


def test_saturated_wrong_prediction_still_learns():
    logits = torch.full((1, 1, 4, 4), -1e4, requires_grad=True)
    mask_loss(logits, torch.ones(1, 1, 4, 4)).backward()
    assert (logits.grad < 0).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"lambda_ce": -0.1}, ValueError, "lambda_ce must be finite and not negative"),
        ({"lambda_ce": math.nan}, ValueError, "lambda_ce must be finite and not negative"),
        ({"balance": 1.1}, ValueError, r"^balance must be in \[0, 1\]"),
        ({"balance": math.nan}, ValueError, r"^balance must be in \[0, 1\]"),
        ({"reduction": "median"}, ValueError, "reduction must be 'mean', 'sum' or 'none', got 'median'"),
        ({"input": [0.0]}, TypeError, "input must be a tensor, got list"),
        ({"target": torch.zeros(1, 1, 4, 4)}, ValueError, "input and target must have the same shape"),
        ({"target": torch.zeros(2, 1, 4, 4, dtype=torch.complex64)}, TypeError, "target must be boolean, integer or"),
        ({"input": torch.zeros(0, 1, 4, 4)}, ValueError, "not empty"),
    ],
)
def test_wrong_arguments_raise(arguments, error, message):
    with pytest.raises(error, match=message):
        mask_loss(**{"input": torch.zeros(2, 1, 4, 4), "target": torch.zeros(2, 1, 4, 4), **arguments})
    if not {"input", "target"} & arguments.keys():
        with pytest.raises(error, match=message):
            MaskLoss(**arguments)
