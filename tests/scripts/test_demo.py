from __future__ import annotations

import csv
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import demo
import demo_synapse
import nibabel
import numpy as np
import pytest
import torch
from demo_arguments import BUNDLE, METHODS, parse_arguments
from demo_report import EpochLines
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow
from PIL import Image

from condseg_monai import draw_heat_map
from condseg_monai.reports.drawing import LABEL_COLOR, PREDICTION_COLOR

TINY = ["--image_size=32", "--decoder_channels=4", "--epochs=1", "--stage1_epochs=1", "--device=cpu"]


@pytest.fixture(autouse=True)
def same_loggers() -> Iterator[None]:
    """Give MONAI's loggers back what the demo takes from them."""
    loggers = [logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    before = [(logger, list(logger.handlers), list(logger.filters), logger.propagate) for logger in loggers]
    yield
    for logger, handlers, filters, propagate in before:
        logger.handlers[:], logger.filters[:], logger.propagate = handlers, filters, propagate


def test_runs_are_numbered_and_never_share_a_folder(tmp_path: Path):
    first = demo.make_run_dir(tmp_path / "out")
    (first / "result").touch()
    second = demo.make_run_dir(tmp_path / "out")
    assert [first.name, second.name] == ["run_001", "run_002"]
    assert not any(second.iterdir())
    assert (first / "result").exists()


@pytest.mark.parametrize("method", METHODS)
def test_demo_on_own_data_leaves_scores_masks_and_a_sheet(
    tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str
):
    steps = METHODS[method]
    tiny = TINY if steps.stage1 else [word for word in TINY if "stage1" not in word]
    tiny = [word for word in tiny if method != "dec_seg" or "decoder" not in word]
    arguments = parse_arguments(["--dataset_dir", str(tiny_dataset), "--no_stage1", "--method", method, *tiny])
    assert demo.Demo(arguments, tmp_path).run() == 0
    printed = capsys.readouterr().out
    assert "4 train, 3 val, 2 test images" in printed
    assert ("configs/med_disseg.json" in printed) == (method == "med_disseg")
    assert "configs/train_stage1.json" not in printed
    assert "training: 1 epochs of" in printed
    assert "mDSC if everything were foreground" in printed
    assert str(tmp_path / "contact_sheet.png") in printed
    assert f"tensorboard --logdir {tmp_path / 'tensorboard'}" in printed
    report = tmp_path / "scores" / "report_test.html"
    assert str(report) in printed and "test_1.png" in report.read_text()
    assert (tmp_path / "predictions" / "uncertainty").exists() == (method not in ("dec_seg", "unet"))
    for name in ("test_0.png", "overlay/test_1.png", "probability/test_1.png"):
        assert Image.open(tmp_path / "predictions" / name).size == (36, 40)
    for split, count in (("val", 3), ("test", 2)):
        with (tmp_path / "scores" / f"scores_{split}.csv").open(newline="") as stream:
            assert len(list(csv.DictReader(stream))) == count
    sheet = np.asarray(Image.open(tmp_path / "contact_sheet.png").convert("RGB"))
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 50
    below = sheet[-20:]  # the legend
    for color in (LABEL_COLOR, PREDICTION_COLOR):
        assert (below == color).all(axis=-1).sum() > 50
    certain = (below == draw_heat_map([[1]])[0, 0]).all(axis=-1).sum()
    assert (certain > 50) == (method not in ("dec_seg", "unet"))


def test_demo_fails_if_the_synthetic_images_were_not_learned(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def copy(directory: Path, image_size: int) -> Path:
        return Path(shutil.copytree(tiny_dataset, directory))

    monkeypatch.setattr("condseg_monai.make_synthetic_dataset", copy)
    assert demo.Demo(parse_arguments(TINY), tmp_path).run() == 1
    output = capsys.readouterr()
    assert output.out.index("train_stage1.json") < output.out.index("train_stage2.json")
    assert "epoch   1/1" in output.out
    assert "the validation mDSC is" in output.err
    assert {"stage1.pt", "model.pt"} <= {path.name for path in (tmp_path / "models").iterdir()}


def test_every_epoch_has_a_line_and_scores_where_it_was_validated(capsys: pytest.CaptureFixture[str]):
    trainer = Engine(lambda engine, batch: {"loss": torch.tensor(batch * engine.state.epoch)})
    evaluator = Engine(lambda engine, batch: None)

    @trainer.on(Events.EPOCH_COMPLETED(every=2))
    def validate() -> None:
        evaluator.state.metrics = {"val_mean_iou": 0.25, "val_mean_dice": 0.4}
        evaluator.run([0])

    parts = {"train#trainer": trainer, "validate#evaluator": evaluator}
    EpochLines(SimpleNamespace(parser=SimpleNamespace(get_parsed_content=parts.__getitem__)))  # type: ignore[arg-type]
    trainer.run([1.0, 2.0], max_epochs=3)
    begin, *lines = capsys.readouterr().out.splitlines()
    assert begin == "  training: 3 epochs of 2 steps"
    assert [line.split() for line in lines] == [
        ["epoch", "1/3", "loss", "1.5000", "0", "s"],
        ["epoch", "2/3", "loss", "3.0000", "0", "s", "val", "mIoU", "0.250", "mDSC", "0.400"],
        ["epoch", "3/3", "loss", "4.5000", "0", "s"],
    ]


def test_log_has_warnings_of_monai_but_not_of_logging_that_is_the_demo_s_own(caplog: pytest.LogCaptureFixture):
    demo.redirect_monai()
    ConfigWorkflow(str(BUNDLE / "configs" / "inference.json"), logging_file=False, workflow_type="infer")
    logging.getLogger("monai.bundle.workflows").warning("another")
    assert [record.message for record in caplog.records if record.name == "monai.bundle.workflows"] == ["another"]


def test_failed_step_ends_with_its_reason_and_keeps_the_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    logged: list[Path] = []
    monkeypatch.setattr(demo, "log_to", logged.append)
    monkeypatch.setattr("sys.argv", ["demo", "--dataset_dir", str(tmp_path / "none"), "--output_dir", str(tmp_path)])
    assert demo.main() == 1
    assert logged == [tmp_path / "run_001" / "log.txt"]
    error = capsys.readouterr().err
    assert "DatasetError" in error
    assert f"{tmp_path / 'none'} does not exist" in error


def test_stopped_demo_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def stop(self: demo.Demo) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "log_to", lambda path: None)
    monkeypatch.setattr(demo.Demo, "run", stop)
    monkeypatch.setattr("sys.argv", ["demo", "--output_dir", str(tmp_path)])
    assert demo.main() == 130
    assert "--resume true" in capsys.readouterr().err


def test_synapse_goes_from_volumes_to_volumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(demo_synapse, "SHAPE", (8, 24, 32))
    monkeypatch.setattr(demo_synapse, "TRAINING_SCANS", 2)
    monkeypatch.setattr(demo_synapse, "TEST_SCANS", 1)
    arguments = parse_arguments(["--task", "synapse", *TINY, "--val_interval=1", "--batch_size=4"])
    assert demo_synapse.SynapseDemo(arguments, tmp_path).run() == 1
    output = capsys.readouterr()
    assert "8 train and 8 val slices" in output.out
    assert "'configs/train_stage1.json','configs/synapse.json'" in output.out
    assert "configs/inference_synapse.json" in output.out
    assert "mean Dice of the organs in the test volumes is 0." in output.err
    scan, pred = (nibabel.load(tmp_path / folder / "scan00.nii.gz") for folder in ("scans/test/img", "predictions"))
    assert pred.shape == scan.shape == (32, 24, 8) and np.array_equal(pred.affine, scan.affine)
    assert pred.get_data_dtype() == np.uint8
    assert Image.open(tmp_path / "contact_sheet.png").width > 400
