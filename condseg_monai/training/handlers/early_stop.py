"""Stop training when validation gets no better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine
from monai.engines import Evaluator
from monai.handlers import EarlyStopHandler, stopping_fn_from_metric

from condseg_monai.training.handlers.resumable import add_resumable

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
        add_resumable(engine, "early_stop", self)

    def state_dict(self) -> dict[str, Any]:
        """Return the best score and for how many validations it has stood."""
        return {} if self._handler is None else dict(self._handler.state_dict())

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on counting where :meth:`state_dict` left off; call it after :meth:`attach`.

        Args:
            state_dict: what :meth:`state_dict` returned.
        """
        if self._handler is not None:
            self._handler.load_state_dict(state_dict)
