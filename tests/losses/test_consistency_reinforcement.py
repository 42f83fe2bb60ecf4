"""Loss of stage 1."""

from __future__ import annotations

import math

import pytest
import torch

from condseg_monai import ConsistencyReinforcementLoss
from condseg_monai.losses.consistency import consistency_loss
from condseg_monai.losses.mask import mask_loss
from tests import oracle


@pytest.fixture
def views(make_logits) -> torch.Tensor:
    return torch.cat([make_logits(0), make_logits(1)])


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_equals_the_oracle(views, target, threshold):
    clean, augmented = (oracle.sigmoid(view.numpy()) for view in views.chunk(2))
    expected = oracle.stage1_loss(target.numpy(), clean, augmented, threshold)
    assert ConsistencyReinforcementLoss(threshold)(views, target).item() == pytest.approx(expected, abs=1e-6)


def test_hand_worked_views():
    # certain and right, then undecided: log 2 and half a Dice to learn, and half of log 2 to agree
    views = torch.tensor([100.0, 0.0]).reshape(2, 1, 1, 1).expand(2, 1, 4, 4)
    loss = ConsistencyReinforcementLoss()(views, torch.ones(1, 1, 4, 4))
    dice = 1 - 2 * 0.5 / 1.5
    assert loss.item() == pytest.approx(math.log(2) + dice + 0.5 * math.log(2), abs=1e-5)


def test_terms_are_those_of_the_last_call_and_add_up(views, target):
    loss = ConsistencyReinforcementLoss(lambda_consistency=0.3)
    assert loss.terms == {}
    value = loss(views.requires_grad_(), target)
    assert all(term.ndim == 0 and not term.requires_grad for term in loss.terms.values())
    expected = [mask_loss(views[:3], target), mask_loss(views[3:], target), consistency_loss(views[:3], views[3:])]
    assert list(loss.terms) == ["mask_clean", "mask_augmented", "consistency"]
    assert list(loss.terms.values()) == expected
    torch.testing.assert_close(value, expected[0] + expected[1] + 0.3 * expected[2])
    with pytest.raises(ValueError, match="input must be"):
        loss(views[:3], target)
    assert loss.terms == {}


@pytest.mark.parametrize("weight", [0.0, 0.25, 3.0])
def test_lambda_consistency_moves_its_term_alone(views, target, weight):
    plain, weighted = ConsistencyReinforcementLoss(), ConsistencyReinforcementLoss(lambda_consistency=weight)
    difference = weighted(views, target) - plain(views, target)
    torch.testing.assert_close(difference, (weight - 1) * plain.terms["consistency"])
    assert weighted.terms == plain.terms


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((3, 1, 5, 7), r"input must be \(2B, C, H, W\), clean views then augmented views"),
        ((4, 1, 5, 7), "for each of the two views of input"),
        ((6, 1, 7, 5), "for each of the two views of input"),
    ],
)
def test_input_that_is_not_two_views_of_the_target_raises(target, shape, words):
    with pytest.raises(ValueError, match=words):
        ConsistencyReinforcementLoss()(torch.zeros(shape), target)


def test_class_balance_is_that_of_both_masks(class_logits, class_target):
    clean, augmented = class_logits(0), class_logits(1)
    loss = ConsistencyReinforcementLoss(class_balance=0.5)
    loss(torch.cat([clean, augmented]), class_target)
    assert loss.terms["mask_clean"] == mask_loss(clean, class_target, balance=0.5)
    assert loss.terms["mask_augmented"] == mask_loss(augmented, class_target, balance=0.5)


def test_several_channels_are_several_classes(class_logits, class_target):
    clean, augmented = class_logits(0), class_logits(1)
    loss = ConsistencyReinforcementLoss(lambda_consistency=0.3)
    value = loss(torch.cat([clean, augmented]), class_target)
    assert loss.terms["mask_clean"] == mask_loss(clean, class_target)
    assert loss.terms["mask_augmented"] == mask_loss(augmented, class_target)
    assert loss.terms["consistency"] == consistency_loss(clean, augmented)
    total = loss.terms["mask_clean"] + loss.terms["mask_augmented"] + 0.3 * loss.terms["consistency"]
    torch.testing.assert_close(value, total)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lambda_consistency": -1.0}, r"lambda_consistency must be in \[0, inf\)"),
        ({"threshold": 1.5}, r"threshold must be in \(0, 1\)"),
        ({"class_balance": 1.1}, r"class_balance must be in \[0, 1\]"),
    ],
)
def test_impossible_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConsistencyReinforcementLoss(**arguments)
