"""A log line for each epoch, and a bar on a terminal."""

import io
import logging
import re
import sys
import time

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from condseg_monai.training.handlers.training_progress import TrainingProgress
from condseg_monai.training.trainer import GuardedTrainer


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(epochs=3, validate_every=2, at_step=None, bar=True):
    """Train two steps an epoch; the trainer's other handlers are attached after the progress."""
    evaluator = Engine(lambda engine, batch: None)
    network = nn.Conv2d(1, 1, 1)
    data = [{"image": torch.ones(1, 1, 2, 2), "label": torch.zeros(1, 1, 2, 2)}] * 2
    trainer = GuardedTrainer(
        *("cpu", epochs, data, network, torch.optim.SGD(network.parameters(), lr=0.1), nn.MSELoss()),
        decollate=False,
        train_handlers=[TrainingProgress(evaluator, "stage 2", bar)],
    )

    @trainer.on(Events.EPOCH_COMPLETED(every=validate_every))
    def validate(engine):
        evaluator.run([0], max_epochs=1)
        evaluator.state.epoch = engine.state.epoch
        evaluator.state.metrics = {"val_loss": 0.5, "val_mean_iou": 0.25}
        evaluator.state.key_metric_name = "val_mean_iou"
        evaluator.state.best_metric, evaluator.state.best_metric_epoch = 0.25, engine.state.epoch

    if at_step:
        trainer.add_event_handler(Events.ITERATION_COMPLETED, at_step)
    trainer.run()


def test_every_epoch_has_a_line_with_scores_where_it_was_validated(caplog):
    caplog.set_level(logging.INFO)
    run()
    lines = [r.getMessage() for r in caplog.records if r.name.endswith("training_progress")]
    assert lines[0] == "stage 2: 3 epochs of 2 steps"
    assert re.fullmatch(r"epoch 1/3: loss \d\.\d{4}, 0 s, 00:00 left", lines[1])
    assert ", val_loss 0.5000, val_mean_iou 0.2500 (best 0.2500 in epoch 2), 0 s, 00:00 left" in lines[2]
    assert lines[3].startswith("epoch 3/3: loss ") and "val" not in lines[3]


def test_long_epoch_says_how_far_it_is(monkeypatch, caplog):
    monkeypatch.setattr("condseg_monai.training.handlers.training_progress._SILENCE", -1.0)
    caplog.set_level(logging.INFO)
    run()
    lines = [r.getMessage() for r in caplog.records if r.name.endswith("training_progress")]
    assert lines[1:3] == ["epoch 1/3: step 1 of 2", "epoch 1/3: step 2 of 2"] and lines[3].startswith("epoch 1/3: loss")


def test_bar_is_shown_on_a_terminal_only(monkeypatch):
    for stream, bar, is_shown in ((Terminal(), True, True), (Terminal(), False, False), (io.StringIO(), True, False)):
        monkeypatch.setattr(sys, "stderr", stream)
        run(bar=bar)
        assert ("stage 2, epoch 2/3" in stream.getvalue()) == is_shown


def test_bar_shows_the_loss_alone_and_keeps_its_width(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    run(at_step=lambda engine: time.sleep(0.12))  # longer than tqdm waits between two drawings
    assert re.search(r"loss \d\.\d{4}\]", terminal.getvalue()) and "best" not in terminal.getvalue()


def test_log_lines_do_not_tear_the_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    root, handler = logging.getLogger(), logging.StreamHandler(terminal)
    monkeypatch.setattr(root, "handlers", [handler])
    monkeypatch.setattr(root, "level", logging.INFO)
    run(at_step=lambda engine: logging.getLogger("other").info("a line"))
    assert root.handlers == [handler] and handler.stream is terminal
    rows = [row for line in terminal.getvalue().split("\n") for row in line.split("\r")]
    assert sum(row.strip() == "a line" for row in rows) == 6
    assert not any("a line" in row and row.strip() != "a line" for row in rows)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ArithmeticError])
def test_bar_goes_and_logging_is_as_before_if_the_run_fails(monkeypatch, error):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    root, handler = logging.getLogger(), logging.StreamHandler(terminal)
    monkeypatch.setattr(root, "handlers", [handler])

    def fail(engine):
        raise error

    with pytest.raises(error):
        run(at_step=fail)
    assert root.handlers == [handler] and handler.stream is terminal
    assert terminal.getvalue().rpartition("\r")[0].rpartition("\r")[2].strip() == ""
