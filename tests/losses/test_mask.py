"""Mask loss, of a binary mask and of several classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss

from condseg_monai import MaskLoss
from condseg_monai.losses.mask import mask_loss
from tests import oracle


def test_binary_equals_the_oracle(make_logits, target):
    logits = make_logits(0)
    expected = torch.from_numpy(oracle.mask_loss(target.numpy(), oracle.sigmoid(logits.numpy())))
    torch.testing.assert_close(mask_loss(logits, target, reduction="none"), expected, rtol=0, atol=1e-6)


def test_classes_equal_the_oracle(class_logits, class_target):
    logits = class_logits(0)
    probs, labels = oracle.softmax(logits.numpy(), axis=1), class_target.numpy()
    members = [(labels == number).astype(np.float64) for number in range(4)]
    # Eq. 2 of the probability of the right class, Eq. 3 class by class
    right = sum(member * probs[:, [number]] for number, member in enumerate(members))
    expected = oracle.bce(np.ones_like(right), right)
    dice = np.stack([oracle.dice(member, probs[:, [n]]) for n, member in enumerate(members)])
    there = np.stack([member.any(axis=(1, 2, 3)) for member in members])
    assert there.sum(axis=0).tolist() == [4, 1, 2]  # the classes of each image
    expected += [np.mean(of_image[has]) for of_image, has in zip(dice.T, there.T, strict=True)]
    value = mask_loss(logits, class_target, reduction="none")
    torch.testing.assert_close(value, torch.from_numpy(expected), rtol=0, atol=1e-9)


@pytest.mark.parametrize("factor", [1.0, 0.2])
def test_cross_entropy_is_weighed_as_monai_does(make_logits, target, class_logits, class_target, factor):
    smooth = {"smooth_nr": 1e-5, "smooth_dr": 1e-5, "lambda_ce": factor}
    binary, logits = DiceCELoss(sigmoid=True, **smooth), make_logits(1)
    torch.testing.assert_close(MaskLoss(lambda_ce=factor)(logits, target), binary(logits, target))
    # MONAI averages Dice over all classes: equal where an image has them all
    logits, labels = class_logits(1), torch.stack([class_target[0].roll(shift, dims=2) for shift in range(3)])
    classes = DiceCELoss(softmax=True, to_onehot_y=True, **smooth)
    torch.testing.assert_close(MaskLoss(lambda_ce=factor)(logits, labels), classes(logits, labels))


def test_hand_worked_images():
    logits = torch.tensor([[[[math.log(3), -math.log(3)]]]])  # probabilities 3/4 and 1/4
    expected = -math.log(3 / 4) + 1 - (2 * 0.75) / (1 + 1)
    assert mask_loss(logits, torch.tensor([[[[1.0, 0.0]]]])).item() == pytest.approx(expected, abs=1e-5)

    logits = torch.log(torch.tensor([[0.5, 0.2], [0.25, 0.2], [0.25, 0.6]])).reshape(1, 3, 1, 2)
    dice = [1 - 2 * 0.5 / (0.7 + 1), 1 - 2 * 0.6 / (0.85 + 1)]  # class 1 is absent
    expected = -(math.log(0.5) + math.log(0.6)) / 2 + sum(dice) / 2
    assert mask_loss(logits, torch.tensor([[[[0, 2]]]])).item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("balance", [0.5, 1.0])
def test_balance_weighs_pixels_by_the_size_of_their_class(class_logits, class_target, balance):
    logits = class_logits(9)
    value = mask_loss(logits, class_target, reduction="none", balance=balance)
    plain = mask_loss(logits, class_target, reduction="none")
    for image, (scores, labels) in enumerate(zip(logits, class_target[:, 0], strict=True)):
        losses = F.cross_entropy(scores[None], labels[None], reduction="none")[0]
        of_class = [losses[labels == number] for number in labels.unique()]
        weights = torch.tensor([len(part) ** (1 - balance) for part in of_class], dtype=torch.float64)
        expected = (weights * torch.stack([part.mean() for part in of_class])).sum() / weights.sum()
        torch.testing.assert_close(value[image] - plain[image], expected - losses.mean())


@pytest.mark.parametrize("balance", [0.0, 0.3, 1.0])
def test_binary_cross_entropy_is_that_of_two_classes(make_logits, target, balance):
    logits = make_logits(8)

    def cross_entropy(scores):
        dice = mask_loss(scores, target, reduction="none", lambda_ce=0)
        return mask_loss(scores, target, reduction="none", balance=balance) - dice

    both = torch.cat([torch.zeros_like(logits), logits], dim=1)
    torch.testing.assert_close(cross_entropy(logits), cross_entropy(both))


def test_a_soft_pixel_weighs_for_both_classes():
    logits = torch.tensor([[[[math.log(3), -math.log(3), 0.0]]]])  # probabilities 3/4, 1/4, 1/2
    target = torch.tensor([[[[1.0, 0.0, 0.25]]]])
    lesion, background = 1.25**-0.5, 1.75**-0.5
    weights = [lesion, background, 0.25 * lesion + 0.75 * background]
    losses = [-math.log(3 / 4), -math.log(3 / 4), math.log(2)]
    expected = sum(weight * loss for weight, loss in zip(weights, losses, strict=True)) / sum(weights)
    value = mask_loss(logits, target, balance=0.5) - mask_loss(logits, target, lambda_ce=0)
    assert value.item() == pytest.approx(expected, abs=1e-6)


def test_empty_prediction_of_an_empty_mask_costs_nothing():
    assert mask_loss(torch.full((1, 1, 4, 4), -1e4), torch.zeros(1, 1, 4, 4)).item() == 0


def test_predicting_an_absent_class_costs():
    target = torch.zeros(1, 1, 4, 4)
    right = torch.tensor([9.0, 0.0, 0.0]).reshape(1, 3, 1, 1).repeat(1, 1, 4, 4)
    wrong = right.clone()
    wrong[:, 1, 0, 0] = 18
    assert mask_loss(wrong, target) > mask_loss(right, target) + 0.5


def test_saturated_wrong_prediction_still_learns():
    logits = torch.full((1, 1, 4, 4), -1e4, requires_grad=True)
    mask_loss(logits, torch.ones(1, 1, 4, 4)).backward()
    assert (logits.grad < 0).all()


def test_reductions_are_of_the_images(make_logits, target):
    logits = make_logits(2)
    per_image = mask_loss(logits, target, reduction="none")
    assert per_image.shape == (3,)
    torch.testing.assert_close(mask_loss(logits, target), per_image.mean())
    torch.testing.assert_close(MaskLoss(reduction="sum")(logits, target), per_image.sum())


def test_flipping_or_renumbering_both_sides_changes_nothing(class_logits, class_target):
    logits, order = class_logits(3), torch.tensor([2, 0, 3, 1])
    expected = mask_loss(logits, class_target)
    torch.testing.assert_close(mask_loss(logits.flip(-1), class_target.flip(-1)), expected)
    torch.testing.assert_close(mask_loss(logits[:, order], order.argsort()[class_target]), expected)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16])
def test_label_type_does_not_matter(make_logits, class_logits, target, dtype):
    for logits in (make_logits(6), class_logits(6)):
        torch.testing.assert_close(mask_loss(logits, target.to(dtype)), mask_loss(logits, target), rtol=0, atol=0)


@pytest.mark.parametrize("value", [-1, 4, 255, 0.5])
def test_a_value_that_is_no_class_number_raises(class_logits, class_target, value):
    target = class_target.clone().double()
    target[0, 0, 0, 0] = value
    with pytest.raises(ValueError, match="target must hold class numbers 0 to 3, as many as input has channels, got"):
        mask_loss(class_logits(0), target)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"lambda_ce": -0.1}, ValueError, r"lambda_ce must be in \[0, inf\), got -0.1"),
        ({"lambda_ce": math.nan}, ValueError, "lambda_ce must be in"),
        ({"balance": 1.1}, ValueError, r"^balance must be in \[0, 1\]"),
        ({"balance": math.nan}, ValueError, r"^balance must be in \[0, 1\]"),
        ({"reduction": "median"}, ValueError, "reduction must be 'mean', 'sum' or 'none', got 'median'"),
        ({"input": [0.0]}, TypeError, "input must be a tensor, got list"),
        (
            {"target": torch.zeros(1, 1, 4, 4)},
            ValueError,
            r"target must be \(B, 1, H, W\) for input \(B, C, H, W\), got",
        ),
        ({"target": torch.zeros(2, 1, 4, 5)}, ValueError, r"target must be \(B, 1, H, W\) for input"),
        ({"target": torch.zeros(2, 1, 4, 4, dtype=torch.complex64)}, TypeError, "target must be a boolean, integer or"),
        ({"target": None}, TypeError, "target must be .* got NoneType"),
        ({"input": torch.zeros(0, 1, 4, 4)}, ValueError, "not empty"),
    ],
)
def test_wrong_arguments_raise(arguments, error, message):
    with pytest.raises(error, match=message):
        mask_loss(**{"input": torch.zeros(2, 1, 4, 4), "target": torch.zeros(2, 1, 4, 4), **arguments})
    if not {"input", "target"} & arguments.keys():
        with pytest.raises(error, match=message):
            MaskLoss(**arguments)
