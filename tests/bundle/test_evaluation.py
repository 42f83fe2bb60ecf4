import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from condseg_monai.data.images.image_reader import read_natural_image
from condseg_monai.metrics.binary import binary_counts, binary_scores, pooled_scores
from condseg_monai.metrics.saliency import saliency_scores
from condseg_monai.metrics.surface_distance import surface_distance_scores
from condseg_monai.utils.errors import root_cause
from condseg_monai.utils.files import file_sha256

METRICS = {
    "mean_iou": "iou",
    "mean_dice": "dice",
    "recall": "recall",
    "precision": "precision",
    "accuracy": "accuracy",
    "f2": "f2",
    "specificity": "specificity",
}
ORIGINAL = {f"{metric}_original": score for metric, score in METRICS.items()}
CALIBRATION = "calibration_error_original"
DISTANCES = {"hd95_original": "hd95", "asd_original": "asd"}
SALIENCY = ("s_measure", "e_measure", "weighted_f", "mae", "swept_dice", "swept_iou")


@pytest.fixture
def options(tiny_options, trained, tmp_path):
    return {**tiny_options, "ckpt_dir": str(trained.ckpt_dir), "output_dir": str(tmp_path)}


def table(folder, split):
    with (folder / f"scores_{split}.csv").open() as stream:
        return list(csv.DictReader(stream))


def summary(folder, split):
    return json.loads((folder / f"summary_{split}.json").read_text())


def test_every_property_is_where_monai_looks_for_it(open_config, options, trained):
    workflow = open_config("train", "evaluate", **options)
    workflow.initialize()
    assert workflow.check_properties() == []
    workflow.evaluator.run()  # alone it loads the weights too
    saved = torch.load(trained.ckpt_dir / "model.pt", weights_only=True)
    assert all(torch.equal(value, saved[key]) for key, value in workflow.network_def.state_dict().items())


@pytest.mark.slow
def test_the_checkpoint_is_scored_and_no_average_that_training_would_make(run_config, options, tmp_path):
    for name, decay in (("plain", None), ("average", 0.9)):
        run_config("train", "evaluate", **{**options, "output_dir": str(tmp_path / name), "ema_decay": decay})
    assert table(tmp_path / "average", "val") == table(tmp_path / "plain", "val")


@pytest.mark.slow
def test_images_in_sub_folders_are_trained_on_and_scored_by_their_paths(run_config, options, tiny_dataset, tmp_path):
    dataset = tmp_path / "dataset"
    names = {}
    for split in ("train", "val"):
        stems = (tiny_dataset / f"{split}.txt").read_text().split()
        names[split] = [f"{Path(stem).stem}/case.png" for stem in stems]
        for stem, name in zip(stems, names[split], strict=True):
            for folder in ("images", "masks"):
                (dataset / folder / name).parent.mkdir(parents=True)
                shutil.copy(next((tiny_dataset / folder).glob(f"{Path(stem).stem}.*")), dataset / folder / name)
        (dataset / f"{split}.txt").write_text("\n".join(names[split]))
    changed = {**options, "dataset_dir": str(dataset), "ckpt_dir": str(tmp_path / "models")}
    run_config("train_stage2", **changed, stage1_checkpoint=None)
    run_config("train", "evaluate", **changed)
    assert [row["file"] for row in table(tmp_path, "val")] == names["val"]
    page = (tmp_path / "report_val.html").read_text()
    assert all(f'<b class="file">{name}</b>' in page for name in names["val"])  # each drawn from its own file


def test_report_has_the_scores_of_every_image(run_config, options, trained, tmp_path):
    workflow = run_config("train", "evaluate", **options)
    rows, report = table(tmp_path, "val"), summary(tmp_path, "val")
    assert [row["file"] for row in rows] == ["val_0.png", "val_1.png", "val_2.png"]
    assert set(rows[0]) == {"file", "height", "width", "label_share", *METRICS, *ORIGINAL, *DISTANCES, CALIBRATION}
    network = workflow.network_def.eval()
    saved = torch.load(trained.ckpt_dir / "model.pt", weights_only=True)
    assert all(torch.equal(value, saved[key]) for key, value in network.state_dict().items())
    counts = {"": [], "_original": []}
    for row, case, paths in zip(rows, workflow.val_dataset, workflow.val_dataset.data, strict=True):
        with torch.no_grad():
            probability = network(case["image"].as_tensor()[None]).sigmoid()
        label = torch.from_numpy(read_natural_image(paths["label"], "L") > 127)[None, None]
        restored = torch.nn.functional.interpolate(probability, label.shape[-2:], mode="bilinear")
        pairs = {
            "": (probability >= 0.5, case["label"].as_tensor()[None]),
            "_original": (restored >= 0.5, label),
        }
        for suffix, pair in pairs.items():
            counts[suffix].append(binary_counts(*pair))
            for metric, score in METRICS.items():
                expected = binary_scores(*pair)[score].item()
                assert float(row[metric + suffix]) == pytest.approx(expected, abs=1e-6)
        for metric, distance in DISTANCES.items():
            expected = surface_distance_scores((restored >= 0.5)[0, 0], label[0, 0], empty="diagonal")[distance]
            assert float(row[metric]) == pytest.approx(expected, abs=1e-5)
        assert (row["height"], row["width"]) == ("40", "36")
        assert float(row["label_share"]) == pytest.approx(label.double().mean().item(), abs=1e-6)
    for metric in (*METRICS, *ORIGINAL, *DISTANCES, CALIBRATION):
        values, found = np.array([float(row[metric]) for row in rows]), report["scores"][metric]
        expected = {"mean": values.mean(), "std": values.std(), "median": np.median(values), "images": 3}
        assert {key: found[key] for key in expected} == pytest.approx(expected, abs=1e-6)
        assert found["interval_95"][0] <= found["mean"] <= found["interval_95"][1]
        assert workflow.evaluator.state.metrics[f"val_{metric}"] == pytest.approx(found["mean"])
    for suffix, rows_of_counts in counts.items():
        for score, value in pooled_scores(torch.cat(rows_of_counts)).items():
            assert report["pooled"][f"pooled_{score}{suffix}"] == pytest.approx(value)
    assert report["thresholds"]["threshold"][49] == report["threshold"] == 0.5
    for curve, score in (("mean_dice", "mean_dice"), ("mean_iou", "mean_iou"), ("mean_recall", "recall")):
        mean = report["scores"][f"{score}_original"]["mean"]
        assert report["thresholds"][curve][49] == pytest.approx(mean, abs=1e-6)
    assert 0 < report["calibration"]["error"] < 1
    assert report["images"] == sum(group["images"] for group in report["subgroups"].values()) == 3
    assert report["checkpoint_sha256"] == file_sha256(trained.ckpt_dir / "model.pt")
    assert (report["split"], report["normalization"], report["image_size"]) == ("val", "imagenet", 32)
    assert (report["model"]["encoder"], report["model"]["image_size"]) == ("resnet18", 32)  # what compare looks at
    assert report["empty_distance"] == "diagonal"
    assert "diagonal of the image" in report["rules"]["empty_distance"]
    page = (tmp_path / "report_val.html").read_text()
    for row in rows:
        assert row["file"] in page
    assert page.count('alt="Contours on') == page.count('alt="Predicted probability of') == 3  # two worst, one best
    assert '<section id="training">' in page and 'alt="Losses, validation scores' in page  # of the run's own folder


def test_evaluation_equals_validation_in_training(run_config, options, trained, tmp_path):
    run_config("train", "evaluate", **options)
    record = json.loads((trained.ckpt_dir / "run_stage2.json").read_text())
    last = record["result"]["last"]  # one epoch: the last is the best
    assert last.pop("val_loss") > 0
    for metric, value in last.items():
        assert summary(tmp_path, "val")["scores"][metric.removeprefix("val_")]["mean"] == pytest.approx(value)


def test_split_names_the_list_and_the_report(run_config, options, tmp_path):
    run_config("train", "evaluate", **options, split="test")
    assert [row["file"] for row in table(tmp_path, "test")] == ["test_0.png", "test_1.png"]
    assert summary(tmp_path, "test")["split"] == "test"


def test_stage_1_can_be_evaluated_too(run_config, options, trained, tmp_path):
    del options["decoder_channels"]  # stage 1 has none
    run_config("train_stage1", "evaluate", **options, checkpoint=str(trained.ckpt_dir / "stage1.pt"))
    assert summary(tmp_path, "val")["checkpoint_sha256"] == file_sha256(trained.ckpt_dir / "stage1.pt")
    page = (tmp_path / "report_val.html").read_text()
    assert 'alt="Contours on' in page
    assert 'alt="Predicted probability of' in page


def test_evaluation_needs_no_training_data_and_leaves_the_checkpoints_alone(
    run_config, options, trained, tiny_dataset, tmp_path
):
    dataset = tmp_path / "data"
    dataset.mkdir()
    for name in ("images", "masks", "val.txt"):
        (dataset / name).symlink_to(tiny_dataset / name)
    before = {path.name: file_sha256(path) for path in trained.ckpt_dir.iterdir()}
    run_config("train", "evaluate", **{**options, "dataset_dir": str(dataset)})
    assert {path.name: file_sha256(path) for path in trained.ckpt_dir.iterdir()} == before


def test_earlier_report_stops_the_evaluation(run_config, options, tmp_path):
    (tmp_path / "report_val.html").write_text("earlier")
    with pytest.raises(RuntimeError) as error:
        run_config("train", "evaluate", **options)
    assert "report_val.html is of an earlier report" in str(error.value.__cause__)
    assert (tmp_path / "report_val.html").read_text() == "earlier"


def test_bad_files_cost_no_other_case_its_scores(run_config, options, tiny_dataset, tmp_path):
    dataset = shutil.copytree(tiny_dataset, tmp_path / "data")
    options = {**options, "dataset_dir": str(dataset), "output_dir": str(tmp_path / "eval")}
    run_config("train", "evaluate", **options)
    expected = table(tmp_path / "eval", "val")
    good = (dataset / "images" / "val_1.png").read_bytes()
    (dataset / "images" / "val_1.png").write_bytes(good[:300])
    with pytest.raises(RuntimeError) as error:
        run_config("train", "evaluate", **options, overwrite=True)
    assert "1 of 3 cases have no score" in str(error.value.__cause__)
    assert table(tmp_path / "eval", "val") == [expected[0], expected[2]]
    report, failures = summary(tmp_path / "eval", "val"), json.loads((tmp_path / "eval/failures_val.json").read_text())
    assert report["images"] == failures["scored"] == 2
    assert report["failed"] == failures["failed"]
    (problem,) = failures["failed"]
    assert problem["files"] == [str(dataset / name / "val_1.png") for name in ("images", "masks")]
    page = (tmp_path / "eval" / "report_val.html").read_text()
    assert "Not scored" in page and "val_1.png" in page
    (dataset / "images" / "val_1.png").write_bytes(good)
    run_config("train", "evaluate", **{**options, "overwrite": "true", "progress_bar": "no"})
    assert table(tmp_path / "eval", "val") == expected
    assert not (tmp_path / "eval" / "failures_val.json").exists()


def test_output_that_is_not_finite_is_not_scored(run_config, options, trained, tmp_path):
    """A variance below 0 gives NaN, and a comparison with that is false: it would be background."""
    models = shutil.copytree(trained.ckpt_dir, tmp_path / "models")
    weights = torch.load(models / "model.pt")
    torch.save({k: -v.abs() - 1 if k.endswith("running_var") else v for k, v in weights.items()}, models / "model.pt")
    card = json.loads((models / "model.json").read_text())
    card["weights"]["sha256"] = file_sha256(models / "model.pt")
    (models / "model.json").write_text(json.dumps(card))
    change = {"ckpt_dir": str(models), "output_dir": str(tmp_path / "eval")}
    with pytest.raises(RuntimeError) as error:
        run_config("train", "evaluate", **{**options, **change})
    assert "output is not finite" in str(root_cause(error.value))
    assert not (tmp_path / "eval" / "scores_val.csv").exists()


def test_killed_evaluation_leaves_the_scores_so_far(run_config, options, tmp_path):
    """The network fails on the third image, as if the process ended there."""
    run_config("train", "evaluate", **{**options, "output_dir": str(tmp_path / "whole"), "batch_size": 1})
    assert not list((tmp_path / "whole").glob("unfinished*"))
    options = {**options, "output_dir": str(tmp_path / "cut"), "batch_size": 1}
    options["validate#inferer"] = "$lambda inputs, network: network(inputs) if next(@calls) < 2 else 1 / 0"
    with pytest.raises(RuntimeError):
        run_config("train", "evaluate", **options, calls="$__import__('itertools').count()")
    with (tmp_path / "cut" / "unfinished_scores_val.csv").open() as stream:
        assert list(csv.DictReader(stream)) == table(tmp_path / "whole", "val")[:2]
    assert not (tmp_path / "cut" / "summary_val.json").exists()


def test_saliency_scores_by_option(run_config, options, tmp_path):
    workflow = run_config("train", "evaluate", **options, saliency_scores=True, empty_distance="nan", report_cases=0)
    rows, network = table(tmp_path, "val"), workflow.network_def.eval()
    case = workflow.val_dataset[0]
    with torch.no_grad():
        probability = network(case["image"].as_tensor()[None]).sigmoid()
    label = read_natural_image(workflow.val_dataset.data[0]["label"], "L") > 127
    restored = torch.nn.functional.interpolate(probability, label.shape, mode="bilinear")[0, 0]
    found = {name: float(rows[0][f"{name}_original"]) for name in SALIENCY}
    assert found == pytest.approx(saliency_scores(restored, label), abs=1e-3)
    assert summary(tmp_path, "val")["empty_distance"] == "nan"
    assert 'alt="Contours' not in (tmp_path / "report_val.html").read_text()


def test_saliency_scores_are_of_stretched_probabilities_by_option(run_config, options, tmp_path):
    more = {"saliency_scores": True, "report_cases": 0}
    for name, stretch in (("plain", False), ("stretched", True)):
        run_config("train", "evaluate", **{**options, "output_dir": str(tmp_path / name)}, **more, stretch=stretch)
    plain, stretched = (table(tmp_path / name, "val")[0] for name in ("plain", "stretched"))
    changed = {name for name in plain if plain[name] != stretched[name]}
    assert {"mae_original", "swept_iou_original"} <= changed <= {f"{name}_original" for name in SALIENCY}
    assert summary(tmp_path / "stretched", "val")["stretch"] is True


def test_missing_checkpoint_stops(run_config, options, tmp_path):
    with pytest.raises(RuntimeError) as error:
        run_config("train", "evaluate", **options, checkpoint=str(tmp_path / "missing.pt"))
    assert "missing.pt" in str(error.value.__cause__)
    assert not (tmp_path / "summary_val.json").exists()
