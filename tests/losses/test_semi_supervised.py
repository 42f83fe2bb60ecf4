"""The semi-supervised loss adds what it says, each weight on its own term."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from condseg_monai import DECSegLoss, MaskLoss, SemiSupervisedLoss
from condseg_monai.losses.mask import mask_loss
from condseg_monai.losses.semi_supervised import probability_distance
from condseg_monai.networks.nets import DECSegOutput

SIX = math.log(6)  # sigmoid 6 / 7


def step():
    """Two labelled images, an unlabelled one and its perturbed copy, every distance known."""
    zero, logits = torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), SIX)  # probabilities 1 / 2 and 6 / 7
    return SimpleNamespace(
        labeled=torch.zeros(2, 1, 2, 2),
        scales=[(torch.zeros(n, 1, 2, 2), torch.full((n, 1, 2, 2), SIX)) for n in (2, 1, 1)],
        clean=[zero, zero],
        perturbed=[logits, zero],
        rebuilt=[
            (torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)),
            (torch.zeros(1, 3, 2, 2), 2 * torch.ones(1, 3, 2, 2)),
        ],
    )


DISTANCE = (6 / 7 - 1 / 2) ** 2
TERMS = {"scale_consistency": 3 * DISTANCE, "perturbation_consistency": DISTANCE, "generative_consistency": 1.0 + 4.0}


@pytest.mark.parametrize("rampup", [1.0, 0.25])
def test_each_weight_moves_its_own_term(rampup):
    target = torch.ones(2, 1, 2, 2)
    supervised = mask_loss(step().labeled, target).item()
    for name, value in TERMS.items():
        weight = name.replace("_consistency", "_weight")
        others = {key.replace("_consistency", "_weight"): 0.0 for key in TERMS if key != name}
        loss = SemiSupervisedLoss(MaskLoss(), **{weight: 3.0, **others})
        loss.rampup = rampup
        assert loss(step(), target).item() == pytest.approx(supervised + rampup * 3 * value)
        assert {key: loss.terms[key].item() for key in TERMS} == pytest.approx(TERMS)  # without weights
        assert loss.terms["supervised"].item() == pytest.approx(supervised)
        assert loss.terms["rampup"].item() == pytest.approx(rampup)


def test_a_step_without_unlabelled_images_is_supervised():
    empty = torch.zeros(0, 1, 2, 2)
    bare = SimpleNamespace(labeled=torch.zeros(2, 1, 2, 2), scales=[], clean=[empty], perturbed=[empty], rebuilt=[])
    loss = SemiSupervisedLoss(MaskLoss())
    target = torch.ones(2, 1, 2, 2)
    assert loss(bare, target).item() == pytest.approx(mask_loss(bare.labeled, target).item())


def test_two_channels_are_a_softmax_and_one_is_a_sigmoid():
    logits = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    other = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    both = [torch.cat([torch.zeros_like(x), x], dim=1) for x in (logits, other)]
    assert probability_distance(*both).item() == pytest.approx(probability_distance(logits, other).item(), rel=1e-5)


def test_gradcheck():
    a, b = (torch.randn(1, 2, 2, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(probability_distance, (a, b))


def test_dec_seg_loss_adds_half_of_each_output():
    target = torch.zeros(2, 1, 4, 4)
    target[:, :, :2] = 1
    outputs = [torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    loss = DECSegLoss()
    expected = [0.5 * mask_loss(logits, target).item() for logits in outputs]
    assert loss(DECSegOutput(*outputs), target).item() == pytest.approx(sum(expected))
    assert [loss.terms[name].item() for name in ("full_scale", "down_scale", "mask")] == pytest.approx(expected)
    assert loss(DECSegOutput(None, None, outputs[2]), target).item() == pytest.approx(expected[2])
    assert list(loss.terms) == ["mask"]


def test_arguments_out_of_range_raise():
    with pytest.raises(ValueError, match="scale_weight"):
        SemiSupervisedLoss(nn.Identity(), scale_weight=-1)
    with pytest.raises(ValueError, match="same shape"):
        probability_distance(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 3))
