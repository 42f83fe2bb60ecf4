"""A CSV file with a row per epoch."""

import pytest
import torch
from ignite.engine import Engine, Events

from condseg_monai.training.handlers.training_history import TrainingHistory, read_history


def train(path, epochs, validated=1):
    """Epochs of two steps, whose loss is the number of the step in all; validation every ``validated`` epochs."""
    trainer = Engine(lambda engine, batch: {"loss": torch.tensor(float(engine.state.iteration))})
    evaluator = Engine(lambda engine, batch: None)

    def scalars(output):
        loss = float(output["loss"])
        return {"loss/total": loss, "loss/mask": loss / 2, "learning_rate/encoder": 0.1 / loss}

    history = TrainingHistory(path, scalars, evaluator)
    history.attach(trainer)

    @trainer.on(Events.EPOCH_COMPLETED)
    def complete(engine):
        epoch = engine.state.epoch
        if epoch % validated == 0:
            evaluator.run([0], max_epochs=epoch, epoch_length=1) if evaluator.state.epoch < epoch else None
            evaluator.state.epoch = epoch
            evaluator.state.metrics = {"val_loss": 1 / epoch, "val_mean_iou": epoch / 10}
        history.write(epoch)

    trainer.run([0, 0], max_epochs=epochs)
    return path


def test_row_has_mean_losses_last_rate_and_the_scores_of_its_validation(tmp_path):
    rows = read_history(train(tmp_path / "history.csv", 2))
    assert rows[0].keys() == {
        *("epoch", "learning_rate/encoder", "loss/total", "loss/mask", "val_loss", "val_mean_iou"),
    }
    assert [row["epoch"] for row in rows] == [1, 2]
    assert (rows[0]["loss/total"], rows[1]["loss/total"], rows[1]["loss/mask"]) == (1.5, 3.5, 1.75)
    assert rows[1]["learning_rate/encoder"] == 0.1 / 4
    assert (rows[1]["val_loss"], rows[1]["val_mean_iou"]) == (0.5, 0.2)


def test_epoch_without_validation_has_empty_scores(tmp_path):
    text = train(tmp_path / "history.csv", 3, validated=2).read_text().splitlines()
    assert text[0].split(",")[-2:] == ["val_loss", "val_mean_iou"]
    assert [line.split(",")[-1] for line in text[1:]] == ["", "0.2", ""]
    assert [line.split(",")[0] for line in text[1:]] == ["1", "2", "3"]


def test_first_epoch_begins_the_file_anew(tmp_path):
    path = tmp_path / "history.csv"
    train(path, 3)
    assert len(read_history(train(path, 1))) == 1


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "epoch,x\n1,many\n", "epoch\n1,2\n"])
def test_other_file_is_named(tmp_path, content):
    (tmp_path / "history.csv").write_text(content)
    with pytest.raises(ValueError, match=r"history\.csv is no history of a training"):
        read_history(tmp_path / "history.csv")


def test_no_file_is_no_history(tmp_path):
    assert read_history(tmp_path / "history.csv") == []
