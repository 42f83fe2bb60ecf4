"""Optimizers and learning-rate schedules by name."""

import math

import pytest
import torch

from condseg_monai.training.schedules import get_lr_scheduler, get_optimizer


def test_sgd_has_momentum_and_all_keep_the_rates_of_groups():
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (0.1, 0.2)]
    sgd = get_optimizer([dict(group) for group in groups], lr=1.0, name="SGD", momentum=0.8, weight_decay=0.01)
    assert isinstance(sgd, torch.optim.SGD)
    assert [(g["lr"], g["momentum"], g["weight_decay"]) for g in sgd.param_groups] == [
        (0.1, 0.8, 0.01),
        (0.2, 0.8, 0.01),
    ]


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_adam_s_weight_decay_is_none_unless_given(name, kind):
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    assert type(get_optimizer(parameters, 0.1, name)) is kind
    assert get_optimizer(parameters, 0.1, name).param_groups[0]["weight_decay"] == 0
    assert get_optimizer(parameters, 0.1, name, weight_decay=0.02).param_groups[0]["weight_decay"] == 0.02


def test_another_optimizer_raises():
    with pytest.raises(ValueError, match="optimizer_name must be adam, adamw or sgd, got 'lion'"):
        get_optimizer([], 1.0, "lion")


def test_poly_is_that_of_torch_and_a_longer_run_decays_over_all_of_it(optimizer):
    ours = run(optimizer, get_lr_scheduler("poly", optimizer, 1, range(8)), 8)[:, 0]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    torchs = run(optimizer, torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=8, power=0.9), 8)[:, 0]
    torch.testing.assert_close(ours, torchs)
    resumed = get_lr_scheduler("poly", optimizer, 2, range(8))
    resumed.load_state_dict({**resumed.state_dict(), "last_epoch": 8})
    assert resumed.lr_lambdas[0](8) > 0.5


@pytest.fixture
def optimizer():
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (0.1, 0.02)]
    return torch.optim.SGD(groups)


def rates(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


def run(optimizer, scheduler, steps):
    seen = []
    for _ in range(steps):
        seen.append(rates(optimizer))
        optimizer.step()
        scheduler.step()
    return torch.tensor(seen, dtype=torch.float64)


def test_cosine_rises_over_a_twentieth_and_falls_to_zero(optimizer):
    scheduler = get_lr_scheduler("cosine", optimizer, 1, range(100))
    seen = run(optimizer, scheduler, 100)
    rise = [(i + 1) / 6 for i in range(5)]
    fall = [0.5 * (1 + math.cos(math.pi * i / 95)) for i in range(95)]
    expected = torch.tensor(rise + fall, dtype=torch.float64)[:, None] * torch.tensor([[0.1, 0.02]])
    torch.testing.assert_close(seen, expected, rtol=1e-6, atol=1e-12)
    assert rates(optimizer) == pytest.approx([0, 0], abs=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("name", ["cosine", "poly"])
def test_a_short_run_never_starts_at_zero(optimizer, name, steps):
    seen = run(optimizer, get_lr_scheduler(name, optimizer, 1, range(steps)), steps)
    assert (seen[0] > 0).all()


def test_plateau_falls_to_a_tenth_after_its_patience(optimizer):
    scheduler = get_lr_scheduler("plateau", optimizer, 1, range(100), plateau_patience=11, val_interval=5)
    for metric, expected in ((0.5, 0.1), (0.4, 0.1), (0.5, 0.1), (0.3, 0.01), (0.6, 0.01)):
        scheduler.step(metric)
        assert rates(optimizer)[0] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["plateau", "cosine", "poly"])
def test_state_survives_a_safe_load(optimizer, name, tmp_path):
    scheduler = get_lr_scheduler(name, optimizer, 1, range(100))
    torch.save(scheduler.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    scheduler.load_state_dict(state)
    assert scheduler.state_dict() == state


def test_unknown_schedule_names_the_known_ones(optimizer):
    with pytest.raises(ValueError, match=r"lr_schedule must be plateau, cosine or poly, got 'step'"):
        get_lr_scheduler("step", optimizer, 1, range(100))
