"""Networks cost no more than they did: operations and bytes at the paper's size, counted without values or a clock."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from condseg_monai import (
    ConDSeg,
    ConDSegLoss,
    ConDSegStage1,
    ConsistencyReinforcementLoss,
    MedDisSeg,
    MedDisSegLoss,
)
from tests.networks.live_bytes import LiveBytes


def cost(network, loss=None, images=1, masks=1):
    """GFLOP of convolutions and products, and the peak of the tensors made, in MB: a training step, or inference."""
    network = network.to("meta").train(loss is not None)
    image, mask = (torch.empty(n, c, 256, 256, device="meta") for n, c in ((images, 3), (masks, 1)))
    counters = LiveBytes(), FlopCounterMode(display=False)
    for counter in counters:  # one at a time: the second keeps tensors alive
        with counter, torch.set_grad_enabled(loss is not None):
            output = network(image)
            if loss is not None:
                loss(output, mask).backward()
    return counters[1].get_total_flops() / 1e9, counters[0].peak / 1e6


# Bounds are a tenth above what was counted.
@pytest.mark.parametrize(
    ("build", "loss", "images", "masks", "gflop", "megabytes"),
    [
        (ConDSegStage1, ConsistencyReinforcementLoss, 8, 4, 234, 2420),
        pytest.param(ConDSeg, ConDSegLoss, 2, 2, 1300, 2390, marks=pytest.mark.slow),
        pytest.param(lambda: ConDSeg(checkpointing="selective"), ConDSegLoss, 2, 2, 1320, 1140, marks=pytest.mark.slow),
        pytest.param(lambda: ConDSeg(cdfa="released"), ConDSegLoss, 2, 2, 1330, 2590, marks=pytest.mark.slow),
        pytest.param(MedDisSeg, lambda: MedDisSegLoss(ConDSegLoss()), 2, 2, 1300, 4070, marks=pytest.mark.slow),
    ],
    ids=["stage 1", "stage 2", "stage 2, selective", "stage 2, released CDFA", "stage 2, Med-DisSeg"],
)
def test_cost_of_a_training_step(build, loss, images, masks, gflop, megabytes):
    operations, peak = cost(build(), loss(), images, masks)
    print(f"{operations:.0f} GFLOP, {peak:.0f} MB")
    assert operations < gflop and peak < megabytes


@pytest.mark.parametrize(
    ("cdfa", "gflop", "megabytes"), [("paper", 178, 158), pytest.param("released", 182, 165, marks=pytest.mark.slow)]
)
def test_cost_of_inference(cdfa, gflop, megabytes):
    operations, peak = cost(ConDSeg(cdfa=cdfa))
    print(f"{operations:.0f} GFLOP, {peak:.0f} MB")
    assert operations < gflop and peak < megabytes
