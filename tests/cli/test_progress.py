from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events

from condseg_monai.cli.progress import EpochLines


def test_every_epoch_has_a_line_and_scores_where_it_was_validated(capsys: pytest.CaptureFixture[str]):
    trainer = Engine(lambda engine, batch: {"loss": torch.tensor(batch * engine.state.epoch)})
    evaluator = Engine(lambda engine, batch: None)

    @trainer.on(Events.EPOCH_COMPLETED(every=2))
    def validate() -> None:
        evaluator.state.metrics = {"val_mean_iou": 0.25, "val_mean_dice": 0.4}
        evaluator.run([0])

    parts = {"train#trainer": trainer, "validate#evaluator": evaluator}
    workflow: Any = SimpleNamespace(parser=SimpleNamespace(get_parsed_content=parts.__getitem__))
    EpochLines(workflow)
    trainer.run([1.0, 2.0], max_epochs=3)
    begin, *lines = capsys.readouterr().out.splitlines()
    assert begin == "  training: 3 epochs of 2 steps"
    assert [line.split() for line in lines] == [
        ["epoch", "1/3", "loss", "1.5000", "0", "s"],
        ["epoch", "2/3", "loss", "3.0000", "0", "s", "val", "mIoU", "0.250", "mDSC", "0.400"],
        ["epoch", "3/3", "loss", "4.5000", "0", "s"],
    ]
