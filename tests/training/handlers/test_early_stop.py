from types import SimpleNamespace

from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from torch import nn, optim

from condseg_monai.training.handlers.early_stop import EarlyStop


def train_with_scores(scores: list[float], patience: int) -> int:
    """Return after how many epochs training stopped, with ``scores`` as the metric of each."""
    network = nn.Linear(1, 1)
    evaluator = SupervisedEvaluator("cpu", [0], network, iteration_update=lambda engine, batch: None)
    evaluator.add_event_handler(
        Events.EPOCH_COMPLETED, lambda engine: engine.state.metrics.update(score=scores[engine.state.epoch - 1])
    )
    trainer = SupervisedTrainer(
        "cpu",
        len(scores),
        [0],
        network,
        optim.SGD(network.parameters()),
        nn.MSELoss(),
        iteration_update=lambda engine, batch: None,
        train_handlers=[EarlyStop(evaluator, "score", patience)],
    )
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: evaluator.run(engine.state.epoch))
    trainer.run()
    return trainer.state.epoch


def test_training_stops_after_patience_validations_without_a_better_score():
    assert train_with_scores([0.1, 0.3, 0.2, 0.3, 0.1, 0.1], patience=2) == 4


def test_a_better_score_starts_the_count_again():
    assert train_with_scores([0.1, 0.05, 0.2, 0.15, 0.3, 0.25], patience=2) == 6


def test_it_is_one_of_monais_handlers():
    stop = EarlyStop(SimpleNamespace(), "score", 3)
    assert stop.patience == 3
    assert stop.score_function(SimpleNamespace(state=SimpleNamespace(metrics={"score": 0.5}))) == 0.5
    stop.set_trainer(Engine(lambda engine, batch: None))


def test_count_goes_on_in_another_process():
    stops = [EarlyStop(Engine(lambda engine, batch: None), "score", 3) for _ in range(2)]
    for stop in stops:
        stop.attach(Engine(lambda engine, batch: None))
    for score in (0.5, 0.4, 0.3):
        stops[0](SimpleNamespace(state=SimpleNamespace(metrics={"score": score})))
    stops[1].load_state_dict(stops[0].state_dict())
    assert (stops[1]._handler.counter, stops[1]._handler.best_score) == (2, 0.5)
