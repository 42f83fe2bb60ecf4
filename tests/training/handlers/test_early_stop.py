"""Early stopping."""

import pytest
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from torch import nn

from condseg_monai.training.handlers.early_stop import EarlyStop


def epochs_with(scores, patience, interval=1):
    """Return after how many epochs training stopped, with ``scores`` as the key metric of each."""
    evaluator = SupervisedEvaluator("cpu", [0], nn.Identity(), iteration_update=lambda engine, batch: None)

    @evaluator.on(Events.EPOCH_COMPLETED)
    def score(engine):
        state = engine.state
        if scores[state.epoch - 1] > state.best_metric:
            state.best_metric, state.best_metric_epoch = scores[state.epoch - 1], state.epoch

    trainer = Engine(lambda engine, batch: None)
    trainer.add_event_handler(Events.EPOCH_COMPLETED(every=interval), lambda engine: evaluator.run(engine.state.epoch))
    EarlyStop(evaluator, patience).attach(trainer)
    trainer.run([0], max_epochs=len(scores))
    return trainer.state.epoch


def test_training_stops_when_the_best_score_is_patience_epochs_old():
    assert epochs_with([0.1, 0.3, 0.2, 0.3, 0.1, 0.1], patience=2) == 4


def test_a_better_score_starts_the_count_again():
    assert epochs_with([0.1, 0.05, 0.2, 0.15, 0.3, 0.25], patience=2) == 6


def test_patience_is_in_epochs_whatever_the_interval_of_validation():
    assert epochs_with([0, 0.3, 0, 0.2, 0, 0.2, 0, 0.2], patience=4, interval=2) == 6


def test_patience_of_zero_raises():
    with pytest.raises(ValueError, match="patience must be >= 1 epoch, got 0"):
        EarlyStop(Engine(lambda engine, batch: None), 0)
