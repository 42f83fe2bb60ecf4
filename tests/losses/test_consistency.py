"""Consistency loss, of a binary mask and of several classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from condseg_monai.losses.consistency import consistency_loss
from tests import oracle


@pytest.mark.parametrize("threshold", [0.5, 0.3, 0.8])
def test_binary_equals_the_oracle(make_logits, threshold):
    clean, augmented = make_logits(0), make_logits(1)
    probs = oracle.sigmoid(clean.numpy()), oracle.sigmoid(augmented.numpy())
    expected = oracle.consistency_loss(*probs, t=threshold).mean()
    assert consistency_loss(clean, augmented, threshold).item() == pytest.approx(expected, abs=1e-6)


def test_classes_equal_the_oracle(class_logits):
    clean, augmented = class_logits(0), class_logits(1)
    first, second = (oracle.softmax(logits.numpy(), axis=1) for logits in (clean, augmented))
    expected = 0.0
    for probs, other in ((first, second), (second, first)):
        decided = np.take_along_axis(probs, other.argmax(axis=1)[:, None], axis=1)
        expected += 0.5 * oracle.bce(np.ones_like(decided), decided).mean()
    assert consistency_loss(clean, augmented).item() == pytest.approx(expected, abs=1e-9)


def test_hand_worked_views():
    clean = torch.full((1, 1, 2, 2), math.log(3))  # probability 3/4, foreground
    augmented = torch.full((1, 1, 2, 2), -math.log(4))  # probability 1/5, background
    expected = 0.5 * (-math.log(1 - 3 / 4) - math.log(1 / 5))
    assert consistency_loss(clean, augmented).item() == pytest.approx(expected, rel=1e-6)

    clean = torch.log(torch.tensor([0.7, 0.2, 0.1])).reshape(1, 3, 1, 1)  # decides for class 0
    augmented = torch.log(torch.tensor([0.3, 0.1, 0.6])).reshape(1, 3, 1, 1)  # decides for class 2
    expected = 0.5 * (-math.log(0.1) - math.log(0.3))
    assert consistency_loss(clean, augmented).item() == pytest.approx(expected, rel=1e-5)


def test_two_classes_are_the_binary_loss(make_logits):
    clean, augmented = make_logits(2), make_logits(3)
    pairs = [torch.cat([torch.full_like(x, 0.4), x + 0.4], dim=1) for x in (clean, augmented)]
    torch.testing.assert_close(consistency_loss(*pairs), consistency_loss(clean, augmented))


def test_threshold_itself_is_foreground():
    undecided, certain = torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 50.0)
    expected = 0.5 * math.log(2)  # certain agrees with the other's foreground at no cost
    assert consistency_loss(certain, undecided).item() == pytest.approx(expected, rel=1e-6)
    just_below = torch.full((1, 1, 2, 2), -1e-9)
    assert consistency_loss(certain, just_below).item() > 20


def test_each_view_is_pulled_towards_the_others_decision(make_logits, class_logits):
    """The gradient of half a mean cross-entropy; nothing comes through the decision."""
    clean, augmented = make_logits(8).requires_grad_(), make_logits(9).requires_grad_()
    consistency_loss(clean, augmented).backward()
    for view, other in ((clean, augmented), (augmented, clean)):
        expected = (view.sigmoid() - (other >= 0).double()).detach() / (2 * view.numel())
        torch.testing.assert_close(view.grad, expected)

    clean, augmented = class_logits(8).requires_grad_(), class_logits(9).requires_grad_()
    consistency_loss(clean, augmented).backward()
    decided = F.one_hot(augmented.argmax(dim=1), 4).permute(0, 3, 1, 2).double()
    torch.testing.assert_close(clean.grad, (clean.softmax(dim=1) - decided).detach() / (2 * clean.numel() / 4))


@pytest.mark.parametrize("shape", [(1, 1, 4, 4), (2, 3, 4, 4)])
def test_different_shapes_raise(shape):
    with pytest.raises(ValueError, match="clean and augmented must have the same shape"):
        consistency_loss(torch.zeros(2, 1, 4, 4), torch.zeros(shape))


@pytest.mark.parametrize("threshold", [0, 1, -0.5, float("nan")])
def test_threshold_outside_the_probabilities_raises(threshold):
    with pytest.raises(ValueError, match=r"threshold must be in \(0, 1\)"):
        consistency_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), threshold)


@pytest.mark.parametrize("kind", ["kl", "js", "mse"])
def test_other_kinds_equal_a_plain_computation(kind, make_logits, class_logits):
    for clean, augmented in ((make_logits(0), make_logits(1)), (class_logits(0), class_logits(1))):
        probs = []
        for logits in (clean.numpy(), augmented.numpy()):
            if logits.shape[1] == 1:
                foreground = oracle.sigmoid(logits)
                probs.append(np.concatenate([1 - foreground, foreground], axis=1))
            else:
                probs.append(oracle.softmax(logits, axis=1))
        p, q = probs
        middle = (p + q) / 2
        expected = {
            "kl": ((p * np.log(p / q) + q * np.log(q / p)) / 2).sum(axis=1).mean(),
            "js": ((p * np.log(p / middle) + q * np.log(q / middle)) / 2).sum(axis=1).mean(),
            "mse": ((p - q) ** 2).mean(),  # of two classes both are equally far apart
        }
        assert consistency_loss(clean, augmented, kind=kind).item() == pytest.approx(expected[kind], rel=1e-6)


def test_other_kinds_of_hand_worked_views():
    clean = torch.full((1, 1, 2, 2), math.log(3))  # probabilities 1/4 and 3/4
    augmented = torch.full((1, 1, 2, 2), -math.log(3))  # and 3/4 and 1/4
    expected = {
        "kl": 0.5 * math.log(3),
        "js": 0.75 * math.log(1.5) + 0.25 * math.log(0.5),
        "mse": 0.25,
    }
    for kind, value in expected.items():
        assert consistency_loss(clean, augmented, kind=kind).item() == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("kind", ["kl", "js", "mse"])
def test_other_kinds_vanish_for_equal_views_and_stay_finite_for_opposite_ones(kind, make_logits):
    logits = make_logits(4)
    assert consistency_loss(logits, logits, kind=kind).item() == pytest.approx(0, abs=1e-12)
    certain = torch.full((1, 1, 2, 2), 200.0, requires_grad=True)
    value = consistency_loss(certain, -certain.detach(), kind=kind)
    (gradient,) = torch.autograd.grad(value, certain)
    assert torch.isfinite(value) and torch.isfinite(gradient).all()
    assert value.item() == pytest.approx({"kl": 200.0, "js": math.log(2), "mse": 1.0}[kind], rel=1e-5)


@pytest.mark.parametrize("kind", ["kl", "js", "mse"])
def test_gradient_of_other_kinds_reaches_both_views(kind, make_logits, class_logits):
    for make in (make_logits, class_logits):
        views = [make(seed).double().requires_grad_() for seed in (5, 6)]
        assert torch.autograd.gradcheck(lambda a, b: consistency_loss(a, b, kind=kind), views)
        gradients = torch.autograd.grad(consistency_loss(*views, kind=kind), views)
        assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_unknown_kind_raises():
    with pytest.raises(ValueError, match="kind must be one of bce, kl, js, mse, got 'l1'"):
        consistency_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), kind="l1")
