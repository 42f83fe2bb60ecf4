import math

import pytest
import torch
from ignite.engine import Engine, Events

from condseg_monai import LrSchedule, get_lr_scheduler


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


def metric_is(evaluator, score):
    evaluator.state.metrics, evaluator.state.key_metric_name = {"val_mean_iou": score}, "val_mean_iou"


def test_handler_lowers_the_rates_when_validation_stands_still(optimizer):
    trainer, evaluator = Engine(lambda engine, batch: None), Engine(lambda engine, batch: None)
    evaluator.add_event_handler(Events.EPOCH_COMPLETED, metric_is, score=0.5)
    LrSchedule(get_lr_scheduler("plateau", optimizer, 4, range(2), plateau_patience=1), evaluator).attach(trainer)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run([0]))
    seen = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: seen.append(rates(optimizer)[0]))
    trainer.run(range(2), max_epochs=4)
    assert seen == pytest.approx([0.1, 0.1, 0.01, 0.01])


def test_handler_steps_other_schedules_after_each_iteration(optimizer):
    trainer, evaluator = Engine(lambda engine, batch: None), Engine(lambda engine, batch: None)
    scheduler = get_lr_scheduler("poly", optimizer, 2, range(3))
    LrSchedule(scheduler, evaluator).attach(trainer)
    trainer.run(range(3), max_epochs=2)
    assert scheduler.last_epoch == 6 and rates(optimizer) == [0, 0]
