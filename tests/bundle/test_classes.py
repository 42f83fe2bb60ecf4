"""Images with several classes, from training to predictions, and images of one channel."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from PIL import Image

from condseg_monai.data.images.mask_reader import read_mask

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
        assert set(metrics) == {"val_mean_iou", "val_mean_dice", "val_dice_lesion", "val_dice_tool"}


def test_evaluation_equals_the_validation_of_the_best_epoch(run_of_colours):
    record = json.loads((run_of_colours.models / "run_stage2.json").read_text())
    scores = summary(run_of_colours.report)["scores"]
    assert scores["val_mean_iou"]["mean"] == pytest.approx(record["best"]["value"])


def test_report_has_scores_of_each_class_with_intervals(run_of_colours):
    report = summary(run_of_colours.report)
    for size in ("", "_original"):
        for score in ("iou", "dice", "recall", "precision"):
            for name in (f"mean_{score}", f"{score}_lesion", f"{score}_tool"):
                assert report["scores"][f"val_{name}{size}"]["images"] == 2
                low, high = report["scores"][f"val_{name}{size}"]["interval_95"]
                assert low <= report["scores"][f"val_{name}{size}"]["mean"] <= high
            assert 0 <= report["pooled"][f"val_pooled_{score}_tool{size}"] <= 1
    assert {"val_hd95_lesion_original", "val_asd_tool_original"} <= report["scores"].keys()
    assert report["classes"] == dict(zip(NAMES, COLOURS, strict=True))
    with (run_of_colours.report / "scores_val.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["file"] for row in rows] == ["val_0.png", "val_1.png"]
    page = (run_of_colours.report / "report_val.html").read_text()
    assert "By class" in page and "lesion" in page and page.count("<img") >= 2


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
                assert float(row[f"val_dice_{name}{suffix}"]) == pytest.approx(expected, abs=1e-6)
