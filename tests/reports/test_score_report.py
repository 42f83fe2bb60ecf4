"""Evaluation report: table, summary, page, and refusal of an earlier one."""

import csv
import json

import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor

from condseg_monai import BinaryScoreMetric
from condseg_monai.data.lists.pairing import Finding
from condseg_monai.inference.required_checkpoint import RequiredCheckpoint
from condseg_monai.metrics.bootstrap import bootstrap_interval
from condseg_monai.reports.score_report import ScoreReport
from condseg_monai.utils.files import file_sha256

IOU, DICE = [0.25, 0.75, 1.0], [0.4, 0.86, 1.0]


def batch_of(*names):
    return [
        {"image": MetaTensor(torch.zeros(1, 2, 2), meta={"filename_or_obj": f"data/images/{name}"})} for name in names
    ]


def run(report, batches=None, details=None):
    engine = Engine(lambda engine, batch: None)

    @engine.on(Events.EPOCH_COMPLETED)
    def compute(engine):
        engine.state.metric_details = (
            details
            if details is not None
            else {
                "mean_iou": torch.tensor(IOU, dtype=torch.float64).unsqueeze(1),
                "mean_dice": torch.tensor(DICE, dtype=torch.float64).unsqueeze(1),
            }
        )

    report.attach(engine)
    engine.run(batches or [batch_of("a.png", "b.jpg"), batch_of("c.png")])


def test_table_has_a_line_per_image_and_a_column_per_metric(tmp_path):
    run(ScoreReport(str(tmp_path), "val"))
    with (tmp_path / "scores_val.csv").open() as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["file", "mean_iou", "mean_dice"]
    assert rows[1:] == [
        ["a.png", "0.250000", "0.400000"],
        ["b.jpg", "0.750000", "0.860000"],
        ["c.png", "1.000000", "1.000000"],
    ]


def test_summary_has_mean_spread_and_conditions(tmp_path):
    weights = RequiredCheckpoint(tmp_path / "model.pt", torch.nn.Linear(2, 2))
    torch.save(weights.network.state_dict(), weights.path)
    weights.load()
    context = {"split": "val", "normalization": "imagenet"}
    run(ScoreReport(str(tmp_path), "val", checkpoint=weights, context=context))
    summary = json.loads((tmp_path / "summary_val.json").read_text())
    assert summary["images"] == 3
    scores = summary["scores"]["mean_iou"]
    assert (scores["mean"], scores["std"], scores["median"]) == pytest.approx((2 / 3, 0.31180478, 0.75))
    assert scores["interval_95"] == list(bootstrap_interval(IOU))
    assert scores["images"] == 3
    assert summary["split"] == "val"
    assert summary["normalization"] == "imagenet"
    assert summary["checkpoint_sha256"] == file_sha256(tmp_path / "model.pt")
    assert "both empty" in summary["rules"]["empty_masks"]


def test_sizes_of_the_labels_give_columns_and_groups(tmp_path):
    batch = batch_of("a.png", "b.jpg", "c.png")
    for item, lesion in zip(batch, (0, 1, 5), strict=True):
        item["label"] = torch.zeros(1, 4, 5)
        item["label"].flatten()[:lesion] = 1
    run(ScoreReport(str(tmp_path), "val"), batches=[batch])
    with (tmp_path / "scores_val.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["height"], row["width"], row["label_share"]) for row in rows] == [
        ("4", "5", "0.000000"),
        ("4", "5", "0.050000"),
        ("4", "5", "0.250000"),
    ]
    groups = json.loads((tmp_path / "summary_val.json").read_text())["subgroups"]
    assert {name: group["scores"]["mean_iou"]["mean"] for name, group in groups.items()} == {
        "empty": 0.25,
        "medium": 0.75,
        "large": 1.0,
    }


def test_pooled_scores_and_missed_images_are_named_by_their_ending(tmp_path):
    metric = BinaryScoreMetric("iou")
    metric(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2))
    metric(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1))
    metric(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))
    run(ScoreReport(str(tmp_path), "val", pooled={"_original": metric}))
    summary = json.loads((tmp_path / "summary_val.json").read_text())
    assert summary["pooled"]["pooled_recall_original"] == 0.8
    assert summary["pooled"]["pooled_iou_original"] == pytest.approx(4 / 9)
    assert (summary["missed_images_original"], summary["false_alarm_images_original"]) == (1, 1)


def test_log_calls_the_means_by_the_list_that_was_scored(tmp_path, caplog):
    with caplog.at_level("INFO"):
        run(ScoreReport(str(tmp_path), "test"))
    assert "Scores of 3 images: test_mean_iou 0.6667, test_mean_dice" in caplog.text


def test_unknown_score_to_rank_by_raises(tmp_path):
    with pytest.raises(RuntimeError, match="rank_by is 'dice', but the metrics are mean_iou, mean_dice"):
        run(ScoreReport(str(tmp_path), "val", rank_by="dice"))
    assert list(tmp_path.iterdir()) == []


def test_earlier_report_stops_the_run_before_it_starts_unless_overwrite(tmp_path):
    run(ScoreReport(str(tmp_path), "val"))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert {path.name for path in before} == {"scores_val.csv", "summary_val.json", "report_val.html"}
    report = ScoreReport(str(tmp_path), "val")
    with pytest.raises(FileExistsError, match=r"scores_val.csv is of an earlier report: .* --overwrite true"):
        run(report, batches=[batch_of("other.png")])
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    run(ScoreReport(str(tmp_path), "test"))
    run(ScoreReport(str(tmp_path), "val", overwrite=True), details={"mean_iou": torch.zeros(3, 1)})
    assert (tmp_path / "scores_val.csv").read_bytes() != before[tmp_path / "scores_val.csv"]


def test_what_was_not_scored_is_named_and_an_earlier_list_of_it_goes(tmp_path):
    problem = Finding("unreadable", "images/<bad>.png is no image", ("images/<bad>.png",))
    run(ScoreReport(str(tmp_path), "val", failed=[problem]))
    failures = json.loads((tmp_path / "failures_val.json").read_text())
    assert failures == {"scored": 3, "failed": [{**problem._asdict(), "files": ["images/<bad>.png"]}]}
    assert json.loads((tmp_path / "summary_val.json").read_text())["failed"] == failures["failed"]
    assert "images/&lt;bad&gt;.png is no image" in (tmp_path / "report_val.html").read_text()
    run(ScoreReport(str(tmp_path), "val", overwrite=True))
    assert not (tmp_path / "failures_val.json").exists()
    assert json.loads((tmp_path / "summary_val.json").read_text())["failed"] == []


@pytest.mark.parametrize(
    ("details", "batches", "error", "message"),
    [
        ({}, None, RuntimeError, "set save_details"),
        ({"mean_iou": torch.zeros(2, 1)}, None, RuntimeError, "mean_iou has 2 values for 3 images"),
        (None, [[{"image": torch.zeros(1, 2, 2)}]], ValueError, "lost their metadata"),
    ],
)
def test_evaluations_without_details_or_metadata_raise(tmp_path, details, batches, error, message):
    with pytest.raises(error, match=message):
        run(ScoreReport(str(tmp_path), "val"), batches, details)
