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


STAGE1 = {"mask_clean": "mask", "mask_augmented": "mask_aug", "consistency": "cons", "total": "total"}
STAGE2 = {"mask": "mask", "foreground": "fg", "background": "bg", "complementary": "compl"}
STAGE2 |= {"foreground_weight": "beta1", "background_weight": "beta2", "total": "total"}


@pytest.mark.parametrize(("stage", "names"), [("stage1", STAGE1), ("stage2", STAGE2)])
def test_terms_equal_the_released_ones(released, stage, names):
    def logits(name: str) -> Tensor:
        return released[f"{stage}_{name}"].double().logit()

    if stage == "stage1":
        loss = ReleasedConsistencyReinforcementLoss()
        value = loss(torch.cat([logits("mask"), logits("mask_aug")]), released["target"])
    else:
        loss = ReleasedConDSegLoss()
        value = loss(ConDSegOutput(*(logits(name) for name in ("mask", "fg", "bg", "uc"))), released["target"])
    found = {**loss.terms, "total": value}
    assert set(found) == set(names)
    for ours, theirs in names.items():
        expected = released[f"{stage}_loss_{theirs}"].double()
        torch.testing.assert_close(found[ours], expected, rtol=0, atol=2e-6, msg=ours)


def test_gradients_reach_every_map_through_the_betas_too(make_logits, target):
    output = ConDSegOutput(*(make_logits(seed).requires_grad_() for seed in range(4)))

    def loss(*maps: Tensor) -> Tensor:
        return ReleasedConDSegLoss()(ConDSegOutput(*maps), target)

    assert torch.autograd.gradcheck(loss, tuple(output))
    views = torch.cat([make_logits(4), make_logits(5)]).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ReleasedConsistencyReinforcementLoss()(x, target), views)


def test_arguments_are_checked_like_our_own(target):
    with pytest.raises(ValueError, match=r"input must be \(2B, C, H, W\)"):
        ReleasedConsistencyReinforcementLoss()(torch.zeros(3, 1, 5, 7), target)
    with pytest.raises(ValueError, match="of binary masks, and the network has 3 classes"):
        ReleasedConsistencyReinforcementLoss()(torch.zeros(6, 3, 5, 7), target)
    with pytest.raises(TypeError, match="ConDSeg returns all four in train mode"):
        ReleasedConDSegLoss()(torch.zeros(3, 1, 5, 7), target)
