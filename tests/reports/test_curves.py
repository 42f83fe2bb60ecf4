"""Curves of a training in one picture."""

import json
import logging

import pytest
from PIL import Image

from condseg_monai import ModelCard
from condseg_monai.reports.curves import curves_of, draw_curves, run_and_draw

HEADER = "epoch,learning_rate/encoder,loss/total,loss/mask,val_loss,val_mean_iou\n"


def write(folder, stage, epochs=3):
    rows = "".join(f"{i},0.001,{3 / i},{1 / i},{1.2 / i},{0.2 * i}\n" for i in range(1, epochs + 1))
    (folder / f"history_{stage}.csv").write_text(HEADER + rows)


def test_picture_has_a_column_for_each_stage(tmp_path):
    write(tmp_path, "stage1")
    with Image.open(draw_curves(tmp_path)) as picture:
        one = picture.size
    write(tmp_path, "stage2", epochs=1)
    assert draw_curves(tmp_path) == tmp_path / "curves.png"
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (2 * one[0], one[1]) and len(picture.convert("L").getcolors()) > 10


def test_every_loss_is_drawn_beside_that_of_validation(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        "condseg_monai.reports.curves._draw",
        lambda _, rows, names, label: drawn.update({label: {name: rows[0][name] for name in names}}),
    )
    header = HEADER.replace("loss/mask", "loss/mask,loss/foreground,loss/foreground_weight")
    (tmp_path / "history_stage2.csv").write_text(f"{header}1,0.001,3,1,2,9,1.2,0.2\n")
    draw_curves(tmp_path)
    losses = drawn["loss, terms before their factors"]
    assert losses == {"loss/total": 3, "loss/mask": 1, "loss/foreground": 2, "val_loss": 1.2}


def test_curves_of_a_checkpoint_are_those_of_the_run_that_its_card_names(tmp_path):
    def card(record):
        return ModelCard("condseg", {}, image_size=32, training={"record": record})

    checkpoint, run = tmp_path / "models" / "model.pt", tmp_path / "run"
    checkpoint.parent.mkdir()
    run.mkdir()
    write(run, "stage2")
    draw_curves(run)
    (tmp_path / "models" / "run_stage2.json").write_text(json.dumps({"options": {"output_dir": str(run)}}))
    assert curves_of(checkpoint, card("run_stage2.json")) == run / "curves.png"
    for other in (None, card("run_stage1.json"), card("../models/run_stage2.json"), card(3)):
        assert curves_of(checkpoint, other) is None
    (run / "curves.png").unlink()
    assert curves_of(checkpoint, card("run_stage2.json")) is None


@pytest.fixture(autouse=True)
def curves_are_drawn(monkeypatch):
    monkeypatch.setattr("condseg_monai.reports.curves.draw_curves", draw_curves)  # the rest of the tests draws a dot


def test_no_history_gives_no_picture(tmp_path):
    assert draw_curves(tmp_path) is None
    (tmp_path / "history_stage1.csv").write_text(HEADER)
    assert draw_curves(tmp_path) is None
    assert draw_curves(tmp_path / "missing") is None


class Interrupted:
    def run(self):
        raise KeyboardInterrupt


def test_picture_is_drawn_after_an_interrupted_run_too(tmp_path):
    write(tmp_path, "stage2")
    with pytest.raises(KeyboardInterrupt):
        run_and_draw(Interrupted(), tmp_path)
    assert (tmp_path / "curves.png").is_file()


def test_damaged_history_costs_the_picture_only(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    (tmp_path / "history_stage2.csv").write_text("something else\n1\n")
    with pytest.raises(KeyboardInterrupt):
        run_and_draw(Interrupted(), tmp_path)
    assert "history_stage2.csv is no history of a training" in caplog.text
