"""Learning-rate schedule, stepped by the metric of a validation or by the iteration."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine, Events
from monai.handlers import LrScheduleHandler
from torch.optim.lr_scheduler import ReduceLROnPlateau

__all__ = ["LrSchedule"]


class LrSchedule(LrScheduleHandler):
    """MONAI's ``LrScheduleHandler`` for a scheduler of either kind, among the trainer's handlers.

    ``ReduceLROnPlateau`` steps after each validation, by its key metric; any other scheduler after each iteration. List
    it last, so that other handlers see the rates that an iteration had.

    Args:
        lr_scheduler: the scheduler.
        evaluator: the validation's engine.
    """

    def __init__(self, lr_scheduler: Any, evaluator: Engine) -> None:
        super().__init__(lr_scheduler, print_lr=False, epoch_level=False)
        self.evaluator = evaluator

    def attach(self, engine: Engine) -> None:
        """Step the scheduler while ``engine`` trains.

        Args:
            engine: the trainer.
        """
        if not isinstance(self.lr_scheduler, ReduceLROnPlateau):
            super().attach(engine)
            return
        self.step_transform = _key_metric
        self.evaluator.add_event_handler(Events.EPOCH_COMPLETED, self)


def _key_metric(engine: Engine) -> float:
    state: Any = engine.state
    return state.metrics[state.key_metric_name]
