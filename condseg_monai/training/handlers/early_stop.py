"""Early stopping."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine, Events

__all__ = ["EarlyStop"]


class EarlyStop:
    """Stop training when the evaluator's best metric is ``patience`` epochs old.

    Unlike MONAI's ``EarlyStopHandler`` it counts nothing, so there is nothing to restore when a run is resumed, and a
    config needs no reference from the trainer's handlers to the trainer.

    Args:
        evaluator: the engine that validates; its key metric has to grow.
        patience: epochs, >= 1.

    Raises:
        ValueError: if ``patience`` is less than 1.
    """

    def __init__(self, evaluator: Engine, patience: int) -> None:
        if patience < 1:
            raise ValueError(f"patience must be >= 1 epoch, got {patience}")
        self.evaluator = evaluator
        self.patience = patience

    def attach(self, engine: Engine) -> None:
        """Stop ``engine``, a trainer, at the end of an epoch."""

        def validated(evaluator: Any) -> None:
            if evaluator.state.epoch - evaluator.state.best_metric_epoch >= self.patience:
                engine.terminate()

        self.evaluator.add_event_handler(Events.COMPLETED, validated)
