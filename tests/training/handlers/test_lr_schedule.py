"""Learning-rate schedule, stepped by the metric of a validation or by the iteration."""

import pytest
import torch
from ignite.engine import Engine, Events

from condseg_monai import LrSchedule, get_lr_scheduler


@pytest.fixture
def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)


def metric_is(evaluator, score):
    evaluator.state.metrics, evaluator.state.key_metric_name = {"val_mean_iou": score}, "val_mean_iou"


def test_handler_lowers_the_rates_when_validation_stands_still(optimizer):
    trainer, evaluator = Engine(lambda engine, batch: None), Engine(lambda engine, batch: None)
    evaluator.add_event_handler(Events.EPOCH_COMPLETED, metric_is, score=0.5)
    LrSchedule(get_lr_scheduler("plateau", optimizer, 4, range(2), plateau_patience=1), evaluator).attach(trainer)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run([0]))
    seen = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: seen.append(optimizer.param_groups[0]["lr"]))
    trainer.run(range(2), max_epochs=4)
    assert seen == pytest.approx([0.1, 0.1, 0.01, 0.01])


def test_handler_steps_other_schedules_after_each_iteration(optimizer):
    trainer, evaluator = Engine(lambda engine, batch: None), Engine(lambda engine, batch: None)
    scheduler = get_lr_scheduler("poly", optimizer, 2, range(3))
    LrSchedule(scheduler, evaluator).attach(trainer)
    trainer.run(range(3), max_epochs=2)
    assert scheduler.last_epoch == 6 and optimizer.param_groups[0]["lr"] == 0
