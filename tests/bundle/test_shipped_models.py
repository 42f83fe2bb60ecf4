"""Trained models that come with the bundle."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from condseg_monai import Segmenter
from condseg_monai.cli.commands import main
from condseg_monai.inference.model_files import default_checkpoint, shipped_models
from condseg_monai.inference.packed_bundle import load_model
from condseg_monai.networks.model_card import card_path

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", shipped_models())
def test_model_is_small_whole_and_as_good_as_the_docs_say(name, capsys):
    checkpoint, card, network = load_model(name)
    assert checkpoint.stat().st_size < 10e6
    test = card.training["test"]
    iou, dice = (test["scores"][score] for score in ("mean_iou", "mean_dice"))
    assert test["images"] == 120 and iou["mean"] >= 0.80 and dice["mean"] >= 0.875
    for page in (REPOSITORY / "README.md", REPOSITORY / "bundle" / "docs" / f"{name}.md"):
        for score in (iou, dice):
            low, high = score["interval_95"]
            assert f"{score['mean']:.3f} ({low:.3f} to {high:.3f})" in page.read_text(encoding="utf-8")
    assert card.weights["sha256"] in page.read_text(encoding="utf-8")
    size = card.image_size
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network.to("meta").eval()(torch.empty(1, 3, size, size, device="meta"))
    assert 20 * counter.get_total_flops() / 2 < 101.5e9  # the paper's network, heads of the regions included
    assert main(["info", name]) == 0
    assert card.network["encoder"] in capsys.readouterr().out


def test_own_model_comes_before_the_shipped_one(tmp_path):
    assert default_checkpoint(tmp_path) == str(tmp_path / "model.pt")  # the one that is missing
    (tmp_path / "condseg_polyp.pt").touch()
    assert default_checkpoint(tmp_path) == str(tmp_path / "condseg_polyp.pt")
    (tmp_path / "model.pt").touch()
    assert default_checkpoint(tmp_path) == str(tmp_path / "model.pt")


def test_inference_with_no_option_but_the_folders_uses_it(run_config, tiny_dataset, tmp_path):
    source = shipped_models()["condseg_polyp"]
    (tmp_path / "models").mkdir()
    for path in (source, card_path(source)):
        shutil.copy(path, tmp_path / "models")
    images, out = tiny_dataset / "images", tmp_path / "out"
    places = {"bundle_root": str(tmp_path), "dataset_dir": str(images), "output_dir": str(out)}
    run_config("inference", workflow_type="infer", num_workers=0, device="cpu", **places)
    assert json.loads((out / "inference.json").read_text())["checkpoint"].endswith("condseg_polyp.pt")
    segmenter = Segmenter("condseg_polyp", device="cpu")
    for image in images.iterdir():
        mask = np.asarray(Image.open(out / f"{image.stem}.png"))
        assert np.array_equal(mask > 0, segmenter.predict(image).mask > 0)


def test_segmenter_says_nothing(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Segmenter("condseg_polyp", device="cpu").predict(np.zeros((40, 50, 3), np.uint8))
    assert capfd.readouterr() == ("", "")
