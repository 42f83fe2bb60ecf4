import csv
import json

import pytest
import torch

from condseg_monai.engines import file_sha256
from condseg_monai.metrics import binary_scores

METRICS = {
    "val_mean_iou": "iou",
    "val_mean_dice": "dice",
    "val_recall": "recall",
    "val_precision": "precision",
    "val_accuracy": "accuracy",
    "val_f2": "f2",
}


@pytest.fixture
def knobs(tiny_knobs, trained, tmp_path):
    return {**tiny_knobs, "ckpt_dir": str(trained.ckpt_dir), "output_dir": str(tmp_path)}


def table(folder, split):
    with (folder / f"scores_{split}.csv").open() as stream:
        return list(csv.DictReader(stream))


def summary(folder, split):
    return json.loads((folder / f"summary_{split}.json").read_text())


def test_every_property_is_where_monai_looks_for_it(open_config, knobs):
    workflow = open_config("train", "evaluate", **knobs)
    workflow.initialize()
    assert workflow.check_properties() == []


def test_report_has_the_scores_of_every_image(run_config, knobs, trained, tmp_path):
    workflow = run_config("train", "evaluate", **knobs)
    rows, report = table(tmp_path, "val"), summary(tmp_path, "val")
    assert [row["file"] for row in rows] == ["val_0.png", "val_1.png", "val_2.png"]
    assert list(rows[0]) == ["file", *METRICS]
    network = workflow.network_def.eval()
    saved = torch.load(trained.ckpt_dir / "model.pt", weights_only=True)
    assert all(torch.equal(value, saved[key]) for key, value in network.state_dict().items())
    for row, case in zip(rows, workflow.val_dataset, strict=True):
        with torch.no_grad():
            probability = network(case["image"].as_tensor()[None]).sigmoid()
        expected = binary_scores(probability >= 0.5, case["label"].as_tensor()[None])
        for metric, score in METRICS.items():
            assert float(row[metric]) == pytest.approx(expected[score].item(), abs=1e-6)
    for metric in METRICS:
        values = torch.tensor([float(row[metric]) for row in rows])
        assert report["scores"][metric]["mean"] == pytest.approx(values.mean().item(), abs=1e-6)
        assert report["scores"][metric]["std"] == pytest.approx(values.std(correction=0).item(), abs=1e-6)
        assert workflow.evaluator.state.metrics[metric] == pytest.approx(report["scores"][metric]["mean"])
    assert report["images"] == 3
    assert report["checkpoint_sha256"] == file_sha256(trained.ckpt_dir / "model.pt")
    assert (report["split"], report["normalization"], report["image_size"]) == ("val", "imagenet", 32)


def test_evaluation_equals_validation_in_training(run_config, knobs, trained, tmp_path):
    run_config("train", "evaluate", **knobs)
    record = json.loads((trained.ckpt_dir / "run_stage2.json").read_text())
    for metric, value in record["result"]["last"].items():  # one epoch: the last is the best
        assert summary(tmp_path, "val")["scores"][metric]["mean"] == pytest.approx(value)


def test_split_names_the_list_and_the_report(run_config, knobs, tmp_path):
    run_config("train", "evaluate", **knobs, split="test")
    assert [row["file"] for row in table(tmp_path, "test")] == ["test_0.png", "test_1.png"]
    assert summary(tmp_path, "test")["split"] == "test"


def test_stage_1_can_be_evaluated_too(run_config, knobs, trained, tmp_path):
    run_config("train_stage1", "evaluate", **knobs, checkpoint=str(trained.ckpt_dir / "stage1.pt"))
    assert summary(tmp_path, "val")["checkpoint_sha256"] == file_sha256(trained.ckpt_dir / "stage1.pt")


def test_evaluation_needs_no_training_data_and_leaves_the_checkpoints_alone(
    run_config, knobs, trained, tiny_dataset, tmp_path
):
    dataset = tmp_path / "data"
    dataset.mkdir()
    for name in ("images", "masks", "val.txt"):
        (dataset / name).symlink_to(tiny_dataset / name)
    before = {path.name: file_sha256(path) for path in trained.ckpt_dir.iterdir()}
    run_config("train", "evaluate", **{**knobs, "dataset_dir": str(dataset)})
    assert {path.name: file_sha256(path) for path in trained.ckpt_dir.iterdir()} == before


def test_earlier_report_is_kept(run_config, knobs, tmp_path):
    for _ in range(2):
        run_config("train", "evaluate", **knobs)
    assert {"scores_val.csv", "scores_val-1.csv", "summary_val.json", "summary_val-1.json"} <= {
        path.name for path in tmp_path.iterdir()
    }


def test_missing_checkpoint_stops(run_config, knobs, tmp_path):
    with pytest.raises(RuntimeError) as error:
        run_config("train", "evaluate", **knobs, checkpoint=str(tmp_path / "missing.pt"))
    assert "missing.pt" in str(error.value.__cause__)
    assert not (tmp_path / "summary_val.json").exists()
