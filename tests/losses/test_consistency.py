"""Consistency loss."""

from __future__ import annotations

import math

import pytest
import torch

from condseg_monai.losses import ConsistencyLoss
from condseg_monai.losses.consistency import consistency_loss
from tests import oracle


@pytest.mark.parametrize("threshold", [0.5, 0.3, 0.8])
def test_equals_the_oracle(make_logits, threshold):
    clean, augmented = make_logits(0), make_logits(1)
    probs = oracle.sigmoid(clean.numpy()), oracle.sigmoid(augmented.numpy())
    expected = oracle.consistency_loss(*probs, t=threshold).mean()
    assert consistency_loss(clean, augmented, threshold).item() == pytest.approx(expected, abs=1e-6)
    assert ConsistencyLoss(threshold)(clean, augmented).item() == pytest.approx(expected, abs=1e-6)


def test_hand_worked_views():
    clean = torch.full((1, 1, 2, 2), math.log(3))  # probability 3/4, foreground
    augmented = torch.full((1, 1, 2, 2), -math.log(4))  # probability 1/5, background
    expected = 0.5 * (-math.log(1 - 3 / 4) - math.log(1 / 5))
    assert consistency_loss(clean, augmented).item() == pytest.approx(expected, rel=1e-6)


def test_threshold_itself_is_foreground():
    undecided, certain = torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 50.0)
    expected = 0.5 * math.log(2)  # certain agrees with the other's foreground at no cost
    assert consistency_loss(certain, undecided).item() == pytest.approx(expected, rel=1e-6)
    just_below = torch.full((1, 1, 2, 2), -1e-9)
    assert consistency_loss(certain, just_below).item() > 20


def test_is_symmetric(make_logits):
    clean, augmented = make_logits(2), make_logits(3)
    torch.testing.assert_close(consistency_loss(clean, augmented), consistency_loss(augmented, clean))


def test_each_view_is_pulled_towards_the_others_mask(make_logits):
    clean, augmented = make_logits(8).requires_grad_(), make_logits(9).requires_grad_()
    consistency_loss(clean, augmented).backward()
    # d/dlogit of half a mean cross-entropy; nothing comes through the binarised target
    torch.testing.assert_close(clean.grad, (clean.sigmoid() - (augmented >= 0).double()).detach() / (2 * clean.numel()))
    torch.testing.assert_close(
        augmented.grad, (augmented.sigmoid() - (clean >= 0).double()).detach() / (2 * clean.numel())
    )


def test_different_shapes_raise():
    with pytest.raises(ValueError, match="clean and augmented must have the same shape"):
        consistency_loss(torch.zeros(2, 1, 4, 4), torch.zeros(1, 1, 4, 4))


def test_binary_masks_instead_of_logits_raise():
    with pytest.raises(TypeError, match=r"augmented must be floating point, got torch\.bool"):
        consistency_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.bool))


@pytest.mark.parametrize("threshold", [0, 1, -0.5, float("nan")])
def test_threshold_outside_the_probabilities_raises(threshold):
    with pytest.raises(ValueError, match="threshold must be between 0 and 1"):
        ConsistencyLoss(threshold)
    with pytest.raises(ValueError, match="threshold must be between 0 and 1"):
        consistency_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), threshold)
