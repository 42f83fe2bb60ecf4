"""Images with several classes, from training to predictions, and images of one channel."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from PIL import Image

from condseg_monai import Segmenter
from condseg_monai.data.images.mask_reader import read_mask
from condseg_monai.utils.errors import root_cause

NAMES = ["background", "lesion", "tool"]
COLOURS = [[0, 0, 0], [255, 0, 0], [0, 128, 255]]
SIZE = (40, 36)


def make_dataset(folder: Path, values: list[Any], mode: str = "RGB") -> Path:
    """Three training, two validation and two test images: a bright disc (class 1) beside a dark bar (class 2)."""
    rng, colours = np.random.default_rng(0), np.array(values, dtype=np.uint8)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for split, count in (("train", 3), ("val", 2), ("test", 2)):
        stems = [f"{split}_{i}" for i in range(count)]
        for stem in stems:
            indices = np.zeros(SIZE, dtype=np.uint8)
            indices[(y - rng.integers(12, 28)) ** 2 + (x - 11) ** 2 < rng.integers(36, 64)] = 1
            indices[:, 24 : rng.integers(28, 34)] = 2
            grey = np.array([110, 210, 40])[indices] + rng.normal(0, 12, SIZE)
            picture = np.clip(grey, 0, 255).astype(np.uint8)
            Image.fromarray(picture).convert(mode).save(folder / "images" / f"{stem}.png")
            Image.fromarray(colours[indices]).save(folder / "masks" / f"{stem}.png")
        (folder / f"{split}.txt").write_text("\n".join(stems) + "\n")
    return folder


class Run(NamedTuple):
    dataset: Path
    models: Path
    report: Path
    workflows: list[ConfigWorkflow]


def options_of(run: Run, tiny_options: dict[str, Any], **others: Any) -> dict[str, Any]:
    folders = {"dataset_dir": str(run.dataset), "ckpt_dir": str(run.models)}
    return {**tiny_options, **folders, "decoder_channels": 4, "epochs": 2, **others}


def evaluation_options(run: Run, **others: Any) -> dict[str, Any]:
    return {
        "dataset_dir": str(run.dataset),
        "ckpt_dir": str(run.models),
        "device": "cpu",
        "num_workers": 0,
        "progress_bar": False,
        **others,
    }


@pytest.fixture(scope="module")
def run_of_colours(run_config, tiny_options, tmp_path_factory) -> Run:
    """Two epochs of both stages of Med-DisSeg on masks of three colours, and an evaluation."""
    folder = tmp_path_factory.mktemp("colours")
    run = Run(make_dataset(folder / "data", COLOURS), folder / "models", folder / "report", [])
    options = options_of(run, tiny_options, output_dir=str(folder / "eval"), class_names=NAMES, class_values=COLOURS)
    for stage in ("train_stage1", "train_stage2"):
        run.workflows.append(run_config(stage, "med_disseg", **options))
    run_config("train", "evaluate", **evaluation_options(run, output_dir=str(run.report)))
    return run


def summary(folder: Path, split: str = "val") -> dict[str, Any]:
    return json.loads((folder / f"summary_{split}.json").read_text())


def test_model_card_has_names_and_values(run_of_colours):
    card = json.loads((run_of_colours.models / "model.json").read_text())
    assert card["output"]["class_names"] == NAMES
    assert card["output"]["class_values"] == COLOURS
    assert card["network"]["out_channels"] == 3


def test_validation_scores_every_class(run_of_colours):
    for workflow in run_of_colours.workflows:
        metrics = workflow.parser.get_parsed_content("validate#evaluator").state.metrics
        assert set(metrics) == {"val_loss", "val_mean_iou", "val_mean_dice", "val_dice_lesion", "val_dice_tool"}


def test_evaluation_equals_the_validation_of_the_best_epoch(run_of_colours):
    record = json.loads((run_of_colours.models / "run_stage2.json").read_text())
    scores = summary(run_of_colours.report)["scores"]
    assert scores["mean_iou"]["mean"] == pytest.approx(record["best"]["value"])


def test_report_has_scores_of_each_class_with_intervals(run_of_colours):
    report = summary(run_of_colours.report)
    for size in ("", "_original"):
        for score in ("iou", "dice", "recall", "precision"):
            for name in (f"mean_{score}", f"{score}_lesion", f"{score}_tool"):
                assert report["scores"][f"{name}{size}"]["images"] == 2
                low, high = report["scores"][f"{name}{size}"]["interval_95"]
                assert low <= report["scores"][f"{name}{size}"]["mean"] <= high
            assert 0 <= report["pooled"][f"pooled_{score}_tool{size}"] <= 1
    assert {"hd95_lesion_original", "asd_tool_original"} <= report["scores"].keys()
    assert report["classes"] == dict(zip(NAMES, COLOURS, strict=True))
    with (run_of_colours.report / "scores_val.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["file"] for row in rows] == ["val_0.png", "val_1.png"]
    page = (run_of_colours.report / "report_val.html").read_text()
    assert "By class" in page and "False alarms" in page and page.count("<img") >= 2
    assert "mask threshold" not in page  # of binary masks


def test_scores_are_those_of_the_networks_own_prediction(run_of_colours):
    """Worked out anew from the weights, at the size of the network's input and of the file."""
    workflow = run_of_colours.workflows[1]
    network = workflow.network_def.eval()
    network.load_state_dict(torch.load(run_of_colours.models / "model.pt", weights_only=True))
    with (run_of_colours.report / "scores_val.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    for row, case in zip(rows, workflow.val_dataset, strict=True):
        with torch.no_grad():
            probability = network(case["image"].as_tensor()[None]).softmax(dim=1)
        label = torch.from_numpy(read_mask(run_of_colours.dataset / "masks" / row["file"], class_values=COLOURS))
        restored = torch.nn.functional.interpolate(probability, SIZE, mode="bilinear")
        for suffix, pred, target in (
            ("", probability.argmax(1)[0], case["label"].as_tensor()[0]),
            ("_original", restored.argmax(1)[0], label),
        ):
            for index, name in enumerate(NAMES[1:], 1):
                p, q = pred == index, target == index
                expected = (2 * (p & q).sum() / (p.sum() + q.sum())).item()
                assert float(row[f"dice_{name}{suffix}"]) == pytest.approx(expected, abs=1e-6)


@pytest.fixture(scope="module")
def predicted(run_of_colours, run_config, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("predicted")
    options = evaluation_options(run_of_colours, dataset_dir=str(run_of_colours.dataset / "images"))
    run_config(
        "inference",
        workflow_type="infer",
        **{**options, "output_dir": str(folder), "save_overlay": True, "save_probability": "npy"},
    )
    return folder


def test_predictions_look_like_the_masks_of_training(predicted, run_of_colours):
    for path in (run_of_colours.dataset / "masks").iterdir():
        image = Image.open(predicted / path.name)
        assert image.mode == "RGB" and image.size == SIZE[::-1]
        indices = read_mask(predicted / path.name, class_values=COLOURS)  # nothing but the three colours
        probability = np.load(predicted / "probability" / f"{path.stem}.npy")
        assert probability.shape == (3, *SIZE)
        np.testing.assert_allclose(probability.sum(axis=0), 1, atol=1e-5)
        np.testing.assert_array_equal(indices, probability.argmax(axis=0))
        assert Image.open(predicted / "overlay" / path.name).mode == "RGB"


def test_predictions_are_masks_to_be_evaluated_against(predicted, run_of_colours, run_config, tmp_path):
    dataset = tmp_path / "data"
    shutil.copytree(run_of_colours.dataset, dataset, ignore=shutil.ignore_patterns("masks"))
    (dataset / "masks").mkdir()
    for path in predicted.glob("*.png"):
        shutil.copy(path, dataset / "masks")
    options = evaluation_options(run_of_colours, dataset_dir=str(dataset), output_dir=str(tmp_path / "report"))
    run_config("train", "evaluate", **{**options, "split": "test", "report_cases": 0})
    scores = summary(tmp_path / "report", "test")["scores"]
    assert {scores[f"dice_{name}_original"]["mean"] for name in NAMES[1:]} <= {1.0, None}


def test_segmenter_gives_and_saves_the_same_masks(predicted, run_of_colours, tmp_path):
    segmenter = Segmenter(run_of_colours.models / "model.pt", device="cpu", batch_size=1)
    result = segmenter.predict(run_of_colours.dataset / "images" / "val_0.png")
    assert result.class_names == tuple(NAMES) and result.probability.shape == (3, *SIZE)
    np.testing.assert_array_equal(result.mask, read_mask(predicted / "val_0.png", class_values=COLOURS))
    result.save(tmp_path / "mask.png")
    assert (tmp_path / "mask.png").read_bytes() == (predicted / "val_0.png").read_bytes()
    assert result.overlay().size == SIZE[::-1]


@pytest.mark.parametrize(
    ("config", "options", "words"),
    [
        ("inference", {"save_probability": "png"}, "the model has background, lesion, tool: take npy"),
        ("inference", {"threshold": 0.4}, "threshold is of a binary mask"),
        ("inference", {"class_names": NAMES[:2]}, "class_names is .*, but the model has"),
        ("inference", {"channels": 1}, "channels is 1, but the model has channels 3"),
        ("evaluate", {"saliency_scores": True}, "saliency_scores are of binary masks"),
        ("evaluate", {"mask_threshold": 127}, "mask_threshold .127. is of binary masks"),
    ],
)
def test_what_does_not_fit_several_classes_is_refused(run_of_colours, run_config, tmp_path, config, options, words):
    names = ("train", "evaluate") if config == "evaluate" else ("inference",)
    folder = run_of_colours.dataset if config == "evaluate" else run_of_colours.dataset / "images"
    options = evaluation_options(run_of_colours, output_dir=str(tmp_path), **options)
    with pytest.raises(RuntimeError) as error:
        run_config(*names, **{**options, "dataset_dir": str(folder)})
    assert re.search(words, str(root_cause(error.value)))


@pytest.fixture(scope="module")
def run_of_grey(run_config, tiny_options, tmp_path_factory) -> Run:
    """Both stages of ConDSeg on images of one channel, whose masks have the values 0, 1 and 2, and an evaluation."""
    folder = tmp_path_factory.mktemp("grey")
    run = Run(make_dataset(folder / "data", [0, 1, 2], mode="L"), folder / "models", folder / "report", [])
    options = options_of(run, tiny_options, output_dir=str(folder / "eval"), class_names=NAMES, channels=1, epochs=1)
    for stage in ("train_stage1", "train_stage2"):
        run.workflows.append(run_config(stage, **options))
    run_config("train", "evaluate", **evaluation_options(run, output_dir=str(run.report)))
    return run


def test_grey_images_train_a_network_of_one_channel(run_of_grey):
    card = json.loads((run_of_grey.models / "model.json").read_text())
    assert card["network"]["in_channels"] == 1
    for workflow in run_of_grey.workflows:
        assert workflow.parser.get_parsed_content("train#dataset")[0]["image"].shape == (1, 32, 32)
    weights = torch.load(run_of_grey.models / "model.pt", weights_only=True)
    assert weights["encoder.conv1.weight"].shape[1] == 1
    assert summary(run_of_grey.report)["images"] == 2


def test_grey_model_predicts_grey_and_coloured_files_alike(run_of_grey, run_config, tmp_path):
    (tmp_path / "images").mkdir()
    image = Image.open(run_of_grey.dataset / "images" / "val_0.png")
    image.save(tmp_path / "images" / "grey.png")
    image.convert("RGB").save(tmp_path / "images" / "rgb.png")
    options = evaluation_options(run_of_grey, dataset_dir=str(tmp_path / "images"), save_overlay=True, batch_size=1)
    run_config("inference", workflow_type="infer", **{**options, "output_dir": str(tmp_path / "out")})
    masks = [Image.open(tmp_path / "out" / name) for name in ("grey.png", "rgb.png")]
    assert [mask.mode for mask in masks] == ["P", "P"]
    assert np.array_equal(*map(np.asarray, masks)) and set(np.unique(masks[0])) <= {0, 1, 2}
    result = Segmenter(run_of_grey.models / "model.pt", device="cpu", batch_size=1).predict(np.asarray(image))
    np.testing.assert_array_equal(result.mask, np.asarray(masks[0]))
    assert result.image.shape == (*SIZE, 3)


def test_unet_trains_on_classes_and_one_channel(run_of_grey, run_config, tiny_options, tmp_path):
    options = options_of(run_of_grey, tiny_options, output_dir=str(tmp_path), class_names=NAMES, channels=1, epochs=1)
    run_config("train_stage2", "unet", **{**options, "ckpt_dir": str(tmp_path / "models")})
    card = json.loads((tmp_path / "models" / "model.json").read_text())
    assert card["method"] == "unet" and card["network"]["out_channels"] == 3


def test_masks_of_three_values_stop_a_binary_training(run_of_grey, run_config, tiny_options, tmp_path):
    options = options_of(run_of_grey, tiny_options, output_dir=str(tmp_path), stage1_checkpoint=None)
    with pytest.raises(RuntimeError) as error:
        run_config("train_stage2", **{**options, "ckpt_dir": str(tmp_path / "models")})
    text = str(root_cause(error.value))
    assert "train_0.png" in text and "3 values, 0, 1, 2" in text and "class_names" in text and "mask_threshold" in text


def test_values_without_a_class_stop_training_and_cost_an_evaluation_that_case(
    run_of_grey, run_config, tiny_options, tmp_path
):
    dataset = shutil.copytree(run_of_grey.dataset, tmp_path / "data")
    strange = np.array(Image.open(dataset / "masks" / "val_1.png"))
    strange[0, :5] = 9
    Image.fromarray(strange).save(dataset / "masks" / "val_1.png")
    folders = {"dataset_dir": str(dataset), "output_dir": str(tmp_path / "eval")}
    options = options_of(run_of_grey, tiny_options, class_names=NAMES, channels=1, stage1_checkpoint=None)
    with pytest.raises(RuntimeError) as error:
        run_config("train_stage2", **{**options, **folders, "ckpt_dir": str(tmp_path / "models")})
    assert "val_1.png: it has values of no class: 9; class_values are 0, 1, 2" in str(root_cause(error.value))
    with pytest.raises(RuntimeError) as error:
        run_config("train", "evaluate", **{**evaluation_options(run_of_grey), **folders})
    text = str(root_cause(error.value))
    assert "1 of 2 cases have no score" in text and "values of no class: 9" in text
    assert summary(tmp_path / "eval")["images"] == 1
