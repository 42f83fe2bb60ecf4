"""Mask loss for several classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss

from condseg_monai.losses import ClassMaskLoss
from condseg_monai.losses.class_mask import class_mask_loss
from condseg_monai.losses.mask import mask_loss
from tests import oracle


def test_equals_the_oracle(class_logits, class_target):
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
    value = class_mask_loss(logits, class_target, reduction="none")
    torch.testing.assert_close(value, torch.from_numpy(expected), rtol=0, atol=1e-9)


def test_equals_monai_dice_plus_cross_entropy_where_all_classes_are_there(class_logits, class_target):
    logits, target = class_logits(1), torch.stack([class_target[0].roll(shift, dims=2) for shift in range(3)])
    for factor in (1.0, 0.2):
        expected = DiceCELoss(softmax=True, to_onehot_y=True, smooth_nr=1e-5, smooth_dr=1e-5, lambda_ce=factor)
        torch.testing.assert_close(
            ClassMaskLoss(lambda_ce=factor)(logits, target), expected(logits, target), msg=str(factor)
        )


def test_hand_worked_image():
    logits = torch.log(torch.tensor([[0.5, 0.2], [0.25, 0.2], [0.25, 0.6]])).reshape(1, 3, 1, 2)
    target = torch.tensor([[[[0, 2]]]])
    dice = [1 - 2 * 0.5 / (0.7 + 1), 1 - 2 * 0.6 / (0.85 + 1)]  # class 1 is absent
    expected = -(math.log(0.5) + math.log(0.6)) / 2 + sum(dice) / 2
    assert class_mask_loss(logits, target).item() == pytest.approx(expected, abs=1e-4)


def test_two_classes_are_the_binary_loss_with_the_dice_of_the_background_averaged_in(make_logits, target):
    logits = make_logits(2)
    both = class_mask_loss(torch.cat([torch.zeros_like(logits), logits], dim=1), target, reduction="none")
    probs, labels = oracle.sigmoid(logits.numpy()), target.numpy()
    background, foreground = oracle.dice(1 - labels, 1 - probs), oracle.dice(labels, probs)
    has_both = (labels.min(axis=(1, 2, 3)) == 0) & (labels.max(axis=(1, 2, 3)) == 1)
    one = np.where(labels.any(axis=(1, 2, 3)), foreground, background)
    instead = np.where(has_both, (background + foreground) / 2, one) - foreground
    binary = mask_loss(logits, target, reduction="none")
    torch.testing.assert_close(both, binary + torch.from_numpy(instead))


@pytest.mark.parametrize("balance", [0.5, 1.0])
def test_balance_weighs_pixels_by_the_size_of_their_class(class_logits, class_target, balance):
    logits = class_logits(9)
    value = class_mask_loss(logits, class_target, reduction="none", balance=balance)
    plain = class_mask_loss(logits, class_target, reduction="none")
    for image, (scores, labels) in enumerate(zip(logits, class_target[:, 0], strict=True)):
        losses = F.cross_entropy(scores[None], labels[None], reduction="none")[0]
        of_class = [losses[labels == number] for number in labels.unique()]
        weights = torch.tensor([len(part) ** (1 - balance) for part in of_class], dtype=torch.float64)
        expected = (weights * torch.stack([part.mean() for part in of_class])).sum() / weights.sum()
        torch.testing.assert_close(value[image] - plain[image], expected - losses.mean())
    torch.testing.assert_close(value[1], plain[1])  # background alone


def test_predicting_an_absent_class_costs():
    target = torch.zeros(1, 1, 4, 4)
    right = torch.tensor([9.0, 0.0, 0.0]).reshape(1, 3, 1, 1).repeat(1, 1, 4, 4)
    wrong = right.clone()
    wrong[:, 1, 0, 0] = 18
    assert class_mask_loss(wrong, target) > class_mask_loss(right, target) + 0.5


def test_renumbering_classes_on_both_sides_changes_nothing(class_logits, class_target):
    logits, order = class_logits(3), torch.tensor([2, 0, 3, 1])
    renumbered = order.argsort()[class_target.long()]
    torch.testing.assert_close(class_mask_loss(logits[:, order], renumbered), class_mask_loss(logits, class_target))


def test_reductions_are_of_the_images(class_logits, class_target):
    logits = class_logits(4)
    per_image = class_mask_loss(logits, class_target, reduction="none")
    alone = [class_mask_loss(logits[i : i + 1], class_target[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(per_image, torch.stack(alone))
    torch.testing.assert_close(class_mask_loss(logits, class_target), per_image.mean())
    torch.testing.assert_close(ClassMaskLoss(reduction="sum")(logits, class_target), per_image.sum())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
def test_label_type_does_not_matter(class_logits, class_target, dtype):
    logits = class_logits(6)
    value = class_mask_loss(logits, class_target.to(dtype))
    torch.testing.assert_close(value, class_mask_loss(logits, class_target), rtol=0, atol=0)


@pytest.mark.parametrize("value", [-1, 4, 255, 0.5])
def test_a_value_that_is_no_class_number_raises(class_logits, class_target, value):
    target = class_target.clone().double()
    target[0, 0, 0, 0] = value
    with pytest.raises(ValueError, match="target must hold class numbers 0 to 3, as many as input has channels, got"):
        class_mask_loss(class_logits(0), target)


@pytest.mark.parametrize("shape", [(2, 1, 4, 5), (1, 1, 4, 4)])
def test_target_of_another_size_raises(shape):
    with pytest.raises(ValueError, match=r"target must be \(B, 1, H, W\) for input \(B, C, H, W\), got"):
        class_mask_loss(torch.zeros(2, 3, 4, 4), torch.zeros(shape))


@pytest.mark.parametrize("balance", [-0.1, 1.1, math.nan])
def test_balance_out_of_range_raises(class_logits, class_target, balance):
    with pytest.raises(ValueError, match=r"balance must be in \[0, 1\]"):
        class_mask_loss(class_logits(0), class_target, balance=balance)
    with pytest.raises(ValueError, match="balance"):
        ClassMaskLoss(balance=balance)
