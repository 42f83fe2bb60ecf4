"""What trainings leave for looking at: histories, curves, trackers."""

import csv
import json

import pytest
import torch
from ignite.engine import Events

from condseg_monai import ConDSeg
from condseg_monai.utils.files import file_sha256
from tests.runs import weights


def test_both_stages_leave_a_history_and_one_picture(trained):
    for stage, terms in (("stage1", {"loss/consistency"}), ("stage2", {"loss/mask", "loss/complementary"})):
        with (trained.output_dir / f"history_{stage}.csv").open() as file:
            (row,) = csv.DictReader(file)
        assert {
            "learning_rate/encoder",
            "loss/total",
            "val_loss",
            "val_mean_iou",
            "val_mean_dice",
        } | terms <= row.keys()
        assert all(row.values()) and row["epoch"] == "1"
    assert (trained.output_dir / "curves.png").is_file()


@pytest.mark.slow
def test_run_without_a_tracker_leaves_history_and_curves_alone(run_config, options, tmp_path):
    run_config("train_stage2", **options, tracker="none")
    assert sorted(path.name for path in (tmp_path / "eval").iterdir()) == ["curves.png", "history_stage2.csv"]


def test_refused_run_leaves_no_event_file(run_config, options, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model.pt").write_bytes(b"earlier")
    with pytest.raises(RuntimeError):
        run_config("train_stage2", **options)
    assert not (tmp_path / "eval").exists()


@pytest.mark.slow
def test_run_that_fails_in_its_first_step_leaves_the_one_that_it_should_replace(run_config, options, tmp_path):
    run_config("train_stage2", **options)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    with pytest.raises(RuntimeError) as error:
        run_config("train_stage2", **{**options, "overwrite": True, "precision": "float16"})
    assert "float16 needs a GPU" in str(error.value.__cause__)
    assert {path: path.read_bytes() for path in before if path.name != "curves.png"} == {
        path: content for path, content in before.items() if path.name != "curves.png"
    }
    run_config("train_stage2", **{**options, "resume": True, "epochs": 2})


@pytest.mark.slow
def test_fine_tuning_starts_from_the_whole_model_and_is_recorded(open_config, options, trained, tmp_path):
    model = trained.ckpt_dir / "model.pt"
    workflow = open_config("train_stage2", **{**options, "stage1_checkpoint": "none.pt", "init_from": str(model)})
    workflow.initialize()
    found = {}
    workflow.trainer.add_event_handler(Events.STARTED, lambda engine: found.update(weights(engine)))
    workflow.run()
    assert isinstance(workflow.network_def, ConDSeg)
    expected = torch.load(model, weights_only=True)
    assert all(torch.equal(value, expected[key]) for key, value in found.items())
    start = json.loads((tmp_path / "models" / "run_stage2.json").read_text())["starts_from"]
    assert start == {"checkpoint": str(model), "sha256": file_sha256(model)}


@pytest.mark.slow
def test_mlflow_has_losses_and_scores_of_one_run(run_config, options, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run_config("train_stage2", **options, tracker="mlflow")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'eval' / 'mlruns.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("condseg_monai").experiment_id])
    assert {"loss/total", "loss/mask", "val_loss", "val_mean_iou"} <= run.data.metrics.keys()
    assert not (tmp_path / "eval" / "tensorboard").exists()
