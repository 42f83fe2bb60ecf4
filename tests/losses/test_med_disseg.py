"""Med-DisSeg's loss is that of the stage and a weighted dispersive term."""

from __future__ import annotations

import pytest
import torch

from condseg_monai import ConDSegLoss, ConsistencyReinforcementLoss, DispersiveLoss, MedDisSegLoss
from condseg_monai.losses.dispersive import dispersive_loss
from condseg_monai.networks.nets import ConDSegOutput, MedDisSegOutput, MedDisSegStage1Output


def draw(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def levels(*shape, seed, deepest=None):
    """The encoder's four maps."""
    return [*(draw(*shape, seed=seed + i) for i in range(3)), draw(*shape, seed=seed) if deepest is None else deepest]


@pytest.fixture
def target():
    return (draw(3, 1, 6, 6, seed=0) > 0).float()


@pytest.mark.parametrize("weight", [0.0, 0.2, 3.0])
def test_stage_2_adds_the_weighted_term(target, weight):
    maps, features = [draw(3, 1, 6, 6, seed=i) for i in range(1, 5)], draw(3, 4, 2, 2, seed=9)
    loss = MedDisSegLoss(ConDSegLoss(), dispersive_weight=weight)
    value = loss(MedDisSegOutput(*maps, levels(3, 2, 4, 4, seed=7, deepest=features)), target)
    plain = ConDSegLoss()
    expected = plain(ConDSegOutput(*maps), target) + weight * dispersive_loss(features)
    torch.testing.assert_close(value, expected)
    assert loss.terms.keys() == plain.terms.keys() | {"dispersive"}
    torch.testing.assert_close(loss.terms["dispersive"], dispersive_loss(features))


def test_stage_1_adds_the_terms_of_both_views(target):
    logits, features = draw(6, 1, 6, 6, seed=1), draw(6, 4, 2, 2, seed=2)
    loss = MedDisSegLoss(ConsistencyReinforcementLoss(), DispersiveLoss("hinge"), dispersive_weight=0.5)
    value = loss(MedDisSegStage1Output(logits, levels(6, 2, 4, 4, seed=7, deepest=features)), target)
    term = dispersive_loss(features[:3], "hinge") + dispersive_loss(features[3:], "hinge")
    torch.testing.assert_close(value, ConsistencyReinforcementLoss()(logits, target) + 0.5 * term)
    torch.testing.assert_close(loss.terms["dispersive"], term)


def test_equal_views_are_not_pushed_apart(target):
    features = draw(3, 4, 2, 2, seed=2)
    loss = MedDisSegLoss(ConsistencyReinforcementLoss())
    loss(MedDisSegStage1Output(draw(6, 1, 6, 6, seed=1), [torch.cat([features, features])] * 4), target)
    torch.testing.assert_close(loss.terms["dispersive"], 2 * dispersive_loss(features))


@pytest.mark.parametrize(("layer", "chosen"), [("early", [0]), ("mid", [1, 2]), ("late", [3]), ("all", [0, 1, 2, 3])])
def test_the_mean_over_the_chosen_maps_is_added(target, layer, chosen):
    logits, maps = draw(6, 1, 6, 6, seed=1), levels(6, 4, 2, 2, seed=2)
    loss = MedDisSegLoss(ConsistencyReinforcementLoss(), layer=layer)
    loss(MedDisSegStage1Output(logits, maps), target)
    terms = torch.stack([dispersive_loss(maps[level][:3]) + dispersive_loss(maps[level][3:]) for level in chosen])
    torch.testing.assert_close(loss.terms["dispersive"], terms.mean())


def test_wrong_arguments_raise_and_leave_no_terms(target):
    loss = MedDisSegLoss(ConsistencyReinforcementLoss())
    logits = draw(6, 1, 6, 6, seed=1)
    loss(MedDisSegStage1Output(logits, levels(6, 4, seed=2)), target)
    with pytest.raises(TypeError, match="input must have features, got Tensor without"):
        loss(logits, target)
    assert loss.terms == {}
    with pytest.raises(ValueError, match="whole views of the 3 images of target, got 4"):
        loss(MedDisSegStage1Output(logits, levels(4, 4, seed=2)), target)
    with pytest.raises(ValueError, match=r"dispersive_weight must be in \[0, inf\), got -1"):
        MedDisSegLoss(ConDSegLoss(), dispersive_weight=-1)
    with pytest.raises(ValueError, match="layer must be one of early, mid, late, all, got 'deep'"):
        MedDisSegLoss(ConDSegLoss(), layer="deep")
