"""The released losses against what the released code computes.

``data/released.npz`` holds the probability maps of one training step of each released stage, on generated weights and
images, the label it was scored against (bit-packed), and every loss term.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from condseg_monai.losses.released import ReleasedConDSegLoss, ReleasedConsistencyReinforcementLoss
from condseg_monai.networks.nets import ConDSegOutput

SHAPE = (2, 1, 64, 64)


@pytest.fixture(scope="module")
def released() -> dict[str, Tensor]:
    with np.load(Path(__file__).parent / "data" / "released.npz") as arrays:
        values = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    bits = np.unpackbits(values.pop("target_bits").numpy(), count=int(np.prod(SHAPE)))
    return values | {"target": torch.from_numpy(bits).reshape(SHAPE)}


def logits(probs: Tensor) -> Tensor:
    return probs.double().logit()


def test_stage_1_equals_the_released_terms(released):
    loss = ReleasedConsistencyReinforcementLoss()
    value = loss(torch.cat([logits(released["stage1_mask"]), logits(released["stage1_mask_aug"])]), released["target"])
    found = {**loss.terms, "total": value}
    names = {"mask_clean": "mask", "mask_augmented": "mask_aug", "consistency": "cons", "total": "total"}
    assert set(found) == set(names)
    for ours, theirs in names.items():
        expected = released[f"stage1_loss_{theirs}"].double()
        torch.testing.assert_close(found[ours], expected, rtol=0, atol=2e-6, msg=ours)


def test_stage_2_equals_the_released_terms(released):
    loss = ReleasedConDSegLoss()
    output = ConDSegOutput(*(logits(released[f"stage2_{name}"]) for name in ("mask", "fg", "bg", "uc")))
    value = loss(output, released["target"])
    found = {**loss.terms, "total": value}
    names = {
        "mask": "mask",
        "foreground": "fg",
        "background": "bg",
        "complementary": "compl",
        "foreground_weight": "beta1",
        "background_weight": "beta2",
        "total": "total",
    }
    assert set(found) == set(names)
    for ours, theirs in names.items():
        expected = released[f"stage2_loss_{theirs}"].double()
        torch.testing.assert_close(found[ours], expected, rtol=0, atol=2e-6, msg=ours)


def test_gradients_reach_every_map_through_the_betas_too(make_logits, target):
    output = ConDSegOutput(*(make_logits(seed).requires_grad_() for seed in range(4)))

    def loss(*maps: Tensor) -> Tensor:
        return ReleasedConDSegLoss()(ConDSegOutput(*maps), target)

    assert torch.autograd.gradcheck(loss, tuple(output))
    views = torch.cat([make_logits(4), make_logits(5)]).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ReleasedConsistencyReinforcementLoss()(x, target), views)


def test_beta_depends_on_the_batch_size_as_released(make_logits, target):
    loss = ReleasedConDSegLoss()
    output = ConDSegOutput(*(make_logits(seed)[:1] for seed in range(4)))
    loss(output, target[:1])
    alone = loss.terms["foreground_weight"]
    loss(ConDSegOutput(*(maps.repeat(2, 1, 1, 1) for maps in output)), target[:1].repeat(2, 1, 1, 1))
    assert loss.terms["foreground_weight"] < alone


def test_arguments_are_checked_like_our_own(target):
    with pytest.raises(ValueError, match=r"input must be \(2B, C, H, W\)"):
        ReleasedConsistencyReinforcementLoss()(torch.zeros(3, 1, 5, 7), target)
    with pytest.raises(TypeError, match="ConDSeg returns all four in train mode"):
        ReleasedConDSegLoss()(torch.zeros(3, 1, 5, 7), target)
