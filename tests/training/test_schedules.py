import doctest

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from condseg_monai.training import schedules as module
from condseg_monai.training.schedules import poly_decay, sgd_or_adam


def test_examples():
    assert doctest.testmod(module).failed == 0


def test_sgd_has_momentum_and_both_keep_the_rates_of_groups():
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (0.1, 0.2)]
    sgd = sgd_or_adam([dict(group) for group in groups], lr=1.0, name="SGD", momentum=0.8, weight_decay=0.01)
    assert isinstance(sgd, torch.optim.SGD) and isinstance(sgd_or_adam(groups, 1.0, "adam"), torch.optim.Adam)
    assert [(g["lr"], g["momentum"], g["weight_decay"]) for g in sgd.param_groups] == [
        (0.1, 0.8, 0.01),
        (0.2, 0.8, 0.01),
    ]


def test_another_optimizer_raises():
    with pytest.raises(ValueError, match="optimizer_name must be sgd or adam, got 'lion'"):
        sgd_or_adam([], 1.0, "lion")


def test_rate_is_that_of_torch_and_a_longer_run_decays_over_all_of_it():
    def rates(scheduler, steps):
        found = []
        for _ in range(steps):
            found.append(scheduler.get_last_lr()[0])
            optimizer.step()
            scheduler.step()
        return found

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    ours = rates(LambdaLR(optimizer, poly_decay(8)), 8)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    torchs = rates(torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=8, power=0.9), 8)
    assert ours == pytest.approx(torchs)
    first = LambdaLR(optimizer, poly_decay(8))
    resumed = LambdaLR(optimizer, poly_decay(16))
    resumed.load_state_dict({**first.state_dict(), "last_epoch": 8})
    assert resumed.lr_lambdas[0](8) > 0.5


def test_nothing_to_decay_over_raises():
    with pytest.raises(ValueError, match="total must be positive"):
        poly_decay(0)
