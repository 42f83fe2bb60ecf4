"""Checkpointing changes what training keeps, and neither gradients nor running statistics."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from condseg_monai import ConDSeg, ConDSegStage1, DECSeg, MedDisSeg, MedDisSegStage1
from condseg_monai.networks.checkpointing import CheckpointedSequential, set_checkpointing
from tests.networks.live_bytes import LiveBytes
from tests.networks.nets.test_dec_seg import FiveStages

NETWORKS: dict[str, Callable[[str], nn.Module]] = {
    "ConDSeg": lambda mode: ConDSeg(encoder="resnet18", decoder_channels=8, dropout=0.5, checkpointing=mode),
    "ConDSegStage1": lambda mode: ConDSegStage1(encoder="resnet18", checkpointing=mode),
    "MedDisSeg": lambda mode: MedDisSeg(encoder="res2net50_v1b", decoder_channels=8, checkpointing=mode),
    "MedDisSegStage1": lambda mode: MedDisSegStage1(encoder="resnet18", checkpointing=mode),
    "DECSeg": lambda mode: DECSeg(encoder=FiveStages(), checkpointing=mode),
}
IMAGE = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def loss_of(network: nn.Module, image: torch.Tensor) -> torch.Tensor:
    return sum(part.square().mean() for part in tensors(network(image)))


def tensors(output: torch.Tensor | Sequence[Any]) -> list[torch.Tensor]:
    return [output] if isinstance(output, torch.Tensor) else [part for parts in output for part in tensors(parts)]


@pytest.mark.parametrize("mode", ["selective", "block"])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "MedDisSeg" else name for name in NETWORKS]
)
def test_gradients_and_statistics_are_those_of_plain_training(name, mode):
    results = []
    for checkpointing in ("none", mode):
        torch.manual_seed(0)
        network = NETWORKS[name](checkpointing).double().train()
        loss_of(network, IMAGE.double()).backward()
        results.append((network, torch.get_rng_state()))
    (plain, state), (ours, our_state) = results
    assert list(ours.state_dict()) == list(plain.state_dict())
    for (key, parameter), other in zip(ours.named_parameters(), plain.parameters(), strict=True):
        assert (parameter.grad - other.grad).norm() <= 1e-12 * max(1.0, other.grad.norm().item()), key
    for (key, buffer), other in zip(ours.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(buffer, other), key
    assert torch.equal(our_state, state)


def test_selective_keeps_less_than_plain_and_block_less_still():
    kept = {}
    for mode in ("none", "selective", "block"):
        network = ConDSeg(encoder="resnet18", decoder_channels=16, checkpointing=mode).train()
        with LiveBytes() as tensors:
            loss = loss_of(network, IMAGE)
            kept[mode] = tensors.now
        del loss
    assert kept["selective"] < 0.8 * kept["none"], kept
    assert kept["block"] < 0.6 * kept["selective"], kept


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["selective", "block"])
def test_it_works_in_mixed_precision(mode):
    gradients = []
    for checkpointing in ("none", mode):
        torch.manual_seed(0)
        network = ConDSeg(encoder="resnet18", decoder_channels=8, checkpointing=checkpointing).train()
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(network, IMAGE)
        loss.backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    torch.testing.assert_close(*gradients)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["selective", "block"])
def test_a_block_that_runs_twice_a_step_works_in_mixed_precision(mode):
    gradients = []
    for checkpointing in ("none", mode):
        torch.manual_seed(0)
        network = NETWORKS["DECSeg"](checkpointing).train()
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(network, IMAGE)
        loss.backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in network.parameters()]))
    plain, ours = gradients
    assert (ours - plain).norm() < 0.02 * plain.norm()  # bfloat16 rounds sums of two gradients in another order


@pytest.mark.parametrize("mode", ["selective", "block"])
def test_two_threads_in_the_backward_pass_leave_the_buffers_alone(mode):
    torch.manual_seed(0)
    network = ConDSeg(encoder="resnet18", decoder_channels=8, checkpointing=mode).train()
    losses = [loss_of(network, IMAGE) for _ in range(2)]
    buffers = dict(network.named_buffers())
    expected = copy.deepcopy(buffers)
    threads = [threading.Thread(target=loss.backward) for loss in losses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, buffer in network.named_buffers():
        assert buffer is buffers[name] and torch.equal(buffer, expected[name]), name


def test_instance_norm_counts_a_batch_once_too():
    block = CheckpointedSequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, track_running_stats=True), nn.ReLU())
    set_checkpointing(block, "selective")
    loss = block(IMAGE).sum()
    statistics = block[1].running_mean.clone()
    loss.backward()
    assert torch.equal(block[1].running_mean, statistics) and statistics.abs().sum() > 0


def test_evaluation_is_the_plain_forward(monkeypatch):
    monkeypatch.setattr("condseg_monai.networks.checkpointing.checkpoint", lambda *_, **__: pytest.fail("checkpointed"))
    network = ConDSegStage1(encoder="resnet18", checkpointing="block")
    network.eval()(IMAGE)
    with torch.no_grad():
        network.train()(IMAGE)


@pytest.mark.parametrize("build", NETWORKS.values(), ids=list(NETWORKS))
def test_an_unknown_choice_names_the_known_ones(build):
    with pytest.raises(ValueError, match='checkpointing must be "none", "selective" or "block", got \'all\''):
        build("all")
