"""Consistency loss for several classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from condseg_monai.losses import ClassConsistencyLoss
from condseg_monai.losses.class_consistency import class_consistency_loss
from condseg_monai.losses.consistency import consistency_loss
from tests import oracle


def test_equals_the_oracle(class_logits):
    clean, augmented = class_logits(0), class_logits(1)
    first, second = (oracle.softmax(logits.numpy(), axis=1) for logits in (clean, augmented))
    expected = 0.0
    for probs, other in ((first, second), (second, first)):
        decided = np.take_along_axis(probs, other.argmax(axis=1)[:, None], axis=1)
        expected += 0.5 * oracle.bce(np.ones_like(decided), decided).mean()
    assert class_consistency_loss(clean, augmented).item() == pytest.approx(expected, abs=1e-9)
    assert ClassConsistencyLoss()(clean, augmented).item() == pytest.approx(expected, abs=1e-9)


def test_hand_worked_views():
    clean = torch.log(torch.tensor([0.7, 0.2, 0.1])).reshape(1, 3, 1, 1)  # decides for class 0
    augmented = torch.log(torch.tensor([0.3, 0.1, 0.6])).reshape(1, 3, 1, 1)  # decides for class 2
    expected = 0.5 * (-math.log(0.1) - math.log(0.3))
    assert class_consistency_loss(clean, augmented).item() == pytest.approx(expected, rel=1e-5)


def test_two_classes_are_the_binary_loss(make_logits):
    clean, augmented = make_logits(2), make_logits(3)
    pairs = [torch.cat([torch.full_like(x, 0.4), x + 0.4], dim=1) for x in (clean, augmented)]
    torch.testing.assert_close(class_consistency_loss(*pairs), consistency_loss(clean, augmented))


def test_is_symmetric(class_logits):
    clean, augmented = class_logits(4), class_logits(5)
    torch.testing.assert_close(class_consistency_loss(clean, augmented), class_consistency_loss(augmented, clean))


def test_each_view_is_pulled_towards_the_others_decision(class_logits):
    clean, augmented = class_logits(8).requires_grad_(), class_logits(9).requires_grad_()
    class_consistency_loss(clean, augmented).backward()
    decided = torch.nn.functional.one_hot(augmented.argmax(dim=1), 4).permute(0, 3, 1, 2).double()
    pixels = clean.numel() / 4
    torch.testing.assert_close(clean.grad, (clean.softmax(dim=1) - decided).detach() / (2 * pixels))


@pytest.mark.parametrize("other", [(1, 3, 4, 4), (2, 4, 4, 4)])
def test_different_shapes_raise(other):
    with pytest.raises(ValueError, match="clean and augmented must have the same shape"):
        class_consistency_loss(torch.zeros(2, 3, 4, 4), torch.zeros(other))
