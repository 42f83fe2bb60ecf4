"""Stop training when validation gets no better."""

from __future__ import annotations

from ignite.engine import Engine
from monai.engines import Evaluator
from monai.handlers import EarlyStopHandler, stopping_fn_from_metric

__all__ = ["EarlyStop"]


class EarlyStop(EarlyStopHandler):
    """MONAI's ``EarlyStopHandler`` for a trainer's handlers, where the trainer needs no reference to itself.

    MONAI's own goes to the evaluator and must be given the trainer, which a config cannot do without a circle.

    Args:
        evaluator: the engine that validates.
        metric: name of the metric, in the evaluator, that has to grow.
        patience: validations without a better value after which training stops.
    """

    def __init__(self, evaluator: Evaluator, metric: str, patience: int) -> None:
        super().__init__(patience=patience, score_function=stopping_fn_from_metric(metric))
        self.evaluator = evaluator

    def attach(self, engine: Engine) -> None:
        """Watch the evaluator, and stop ``engine``.

        Args:
            engine: the trainer.
        """
        self.set_trainer(engine)
        super().attach(self.evaluator)
