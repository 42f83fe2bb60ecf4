"""Exponential moving average of weights."""

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from condseg_monai.training.handlers.average_weights import AverageWeights, average_of


def network_of(value: float) -> nn.Module:
    network = nn.BatchNorm2d(2)
    nn.init.constant_(network.weight, value)
    return network


def test_first_step_copies_and_later_ones_average_with_a_share_that_grows_to_the_decay():
    network = network_of(1.0)
    average = average_of(network, decay=0.25)
    expected = 3.0
    for step, value in enumerate((3.0, 5.0, 7.0, 9.0)):
        nn.init.constant_(network.weight, value)
        network.running_mean.fill_(10 * value)
        network.num_batches_tracked.fill_(step)
        average.update_parameters(network)
        if step > 0:
            kept = min(0.25, (1 + step) / (10 + step))
            expected = kept * expected + (1 - kept) * value
        torch.testing.assert_close(average.module.weight, torch.full((2,), expected))
        torch.testing.assert_close(average.module.running_mean, torch.full((2,), 10 * expected))
        assert average.module.num_batches_tracked == step


def test_each_step_of_a_trainer_is_taken_in_and_the_network_itself_is_not_changed():
    network = network_of(0.0)
    average = average_of(network, decay=0.5)

    def step(engine, batch):
        nn.init.constant_(network.weight, batch)

    trainer = Engine(step)
    AverageWeights(average, network).attach(trainer)
    trainer.run([1.0, 2.0])
    assert average.n_averaged == 2
    assert torch.equal(network.weight, torch.full((2,), 2.0))
    assert 1.0 < average.module.weight[0] < 2.0


def test_no_decay_is_no_average_and_one_that_is_out_of_range_raises():
    assert average_of(network_of(1.0), None) is None
    with pytest.raises(ValueError, match=r"ema_decay must be in \[0, 1\) or null, got 1"):
        average_of(network_of(1.0), 1)
