"""Every method trains, resumes, is evaluated, predicts and exports, by the configs of the documentation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from monai.bundle import ckpt_export
from monai.networks.nets import AttentionUnet, UNet
from PIL import Image
from torch import nn

from condseg_monai import (
    ConDSeg,
    ConDSegBaseline,
    ConDSegStage1,
    DECSeg,
    FlexibleUNet,
    MaskLoss,
    MedDisSeg,
    MedDisSegStage1,
    UNetPlusPlus,
    baseline_unet,
)
from condseg_monai.utils.options import CARD_OPTIONS

NOT_FOR_INFERENCE = {"encoder_weights", "epochs", "dataset_dir", "stage1_checkpoint", *CARD_OPTIONS}


class Method(NamedTuple):
    """The configs of a method's last stage, and of its inference."""

    train: tuple[str, ...]
    predict: tuple[str, ...]
    network: type[nn.Module]
    checkpoint: str = "model.pt"
    record: str = "run_stage2.json"
    resumed: bool = True


METHODS = {
    "condseg": Method(("train_stage2",), ("inference",), ConDSeg),
    "med_disseg": Method(("train_stage2", "med_disseg"), ("inference",), MedDisSeg),
    "med_disseg_stage1": Method(
        ("train_stage1", "med_disseg"), (), MedDisSegStage1, checkpoint="stage1.pt", record="run_stage1.json"
    ),
    "condseg_stage1_without_cr": Method(
        ("train_stage1", "without_cr"), (), ConDSegStage1, checkpoint="stage1.pt", record="run_stage1.json"
    ),
    "unet": Method(("train_stage2", "unet"), ("inference",), UNet),
    "unet_plus_plus": Method(("train_stage2", "unet_plus_plus"), ("inference",), UNetPlusPlus),
    "attention_unet": Method(("train_stage2", "attention_unet"), ("inference",), AttentionUnet),
    "condseg_baseline": Method(("train_stage2", "condseg_baseline"), ("inference",), ConDSegBaseline),
    "flexible_unet": Method(("train_stage2", "flexible_unet"), ("inference",), FlexibleUNet),
    # whose rates reach zero at the last epoch: a resumed run has the same number of epochs
    "dec_seg": Method(("train_dec_seg",), ("inference",), DECSeg, resumed=False),
    "semi_supervised_condseg": Method(
        ("train_dec_seg", "semi_supervised_condseg"),
        ("inference",),
        ConDSeg,
        resumed=False,
    ),
}


class Trained(NamedTuple):
    """A method and the folder of its run."""

    method: Method
    options: dict[str, Any]
    ckpt_dir: Path


SLOW = {*METHODS} - {"condseg", "unet"}  # what is quick is ours and a baseline


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in METHODS],
)
def trained(request, run_config, tiny_options, tiny_dataset, tmp_path_factory) -> Trained:
    """Two epochs of two iterations, the second one resumed. Read it, do not write to it."""
    method = METHODS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    options = {**tiny_options, "dataset_dir": str(folder / "data"), "stage1_checkpoint": None}
    shutil.copytree(tiny_dataset, options["dataset_dir"])
    (folder / "data" / "labeled.txt").write_text("train_0\ntrain_1\n")
    (folder / "data" / "unlabeled.txt").write_text("train_2\ntrain_3\n")
    folders = {"ckpt_dir": str(folder / "models"), "output_dir": str(folder / "eval")}
    for epochs, resume in ((1, False), (2, True)) if method.resumed else ((2, False),):
        run_config(*method.train, **{**options, **folders, "epochs": epochs}, resume=resume)
    return Trained(method, options, folder / "models")


def test_run_is_resumed_and_recorded(trained):
    record = json.loads((trained.ckpt_dir / trained.method.record).read_text())
    assert record["result"]["iterations"] == 4
    assert [entry["after_epoch"] for entry in record["resumed"]] == ([1] if trained.method.resumed else [])


def test_every_property_is_where_monai_looks_for_it(trained, open_config, tmp_path):
    folders = {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval")}
    workflow = open_config(*trained.method.train, **trained.options, **folders)
    workflow.initialize()
    assert workflow.check_properties() == []


def test_first_stage_without_consistency_reinforcement_sees_each_image_once(open_config, tiny_options, tmp_path):
    workflow = open_config("train_stage1", "without_cr", **tiny_options, output_dir=str(tmp_path))
    batch = {"image": torch.rand(2, 3, 32, 32), "label": torch.zeros(2, 1, 32, 32)}
    images, label = workflow.parser.get_parsed_content("train#prepare_batch")(batch)
    assert torch.equal(images, batch["image"]) and torch.equal(label, batch["label"])
    assert isinstance(workflow.parser.get_parsed_content("loss"), MaskLoss)
    clean = open_config("train_stage1", **tiny_options, output_dir=str(tmp_path))
    assert len(clean.parser.get_parsed_content("train#prepare_batch")(batch)[0]) == 4  # with it: two views
    cases = [w.parser.get_parsed_content("train#dataset")[0]["image"] for w in (workflow, clean)]
    assert cases[0].min() < 0 <= cases[1].min()  # normalised here, there after the recolouring


def test_overlay_evaluates(trained, run_config, tmp_path):
    checkpoint = trained.ckpt_dir / trained.method.checkpoint
    places = {"ckpt_dir": str(trained.ckpt_dir), "checkpoint": str(checkpoint), "output_dir": str(tmp_path)}
    options = {key: value for key, value in trained.options.items() if key not in CARD_OPTIONS}
    workflow = run_config(*trained.method.train, "evaluate", **options, **places, split="test")
    assert json.loads((tmp_path / "summary_test.json").read_text())["images"] == 2
    saved = torch.load(checkpoint, weights_only=True)
    assert all(torch.equal(value, saved[key]) for key, value in workflow.network_def.state_dict().items())


def test_images_are_segmented(trained, open_config, tmp_path):
    if not trained.method.predict:
        pytest.skip("its stage 2 does")
    options = {key: value for key, value in trained.options.items() if key not in NOT_FOR_INFERENCE}
    places = {"dataset_dir": f"{trained.options['dataset_dir']}/images", "output_dir": str(tmp_path)}
    places |= {"ckpt_dir": str(trained.ckpt_dir)}
    workflow = open_config(*trained.method.predict, workflow_type="infer", **options, **places)
    workflow.initialize()
    assert workflow.check_properties() == []
    workflow.run()
    assert Image.open(tmp_path / "test_0.png").size == (36, 40)


def test_exported_torchscript_gives_the_same_logits(trained, bundle_dir, open_config, tmp_path):
    method, checkpoint = trained.method, trained.ckpt_dir / "model.pt"
    if not method.predict:
        pytest.skip("its stage 2 is")
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(checkpoint),
        meta_file=str(bundle_dir / "configs" / "metadata.json"),
        config_file=[str(bundle_dir / "configs" / f"{name}.json") for name in method.predict],
        ckpt_dir=str(trained.ckpt_dir),
    )
    config = open_config(*method.predict, workflow_type="infer", ckpt_dir=str(trained.ckpt_dir))
    network = config.parser.get_parsed_content("network_def")
    assert type(network) is method.network
    network.load_state_dict(torch.load(checkpoint, weights_only=True))
    image = torch.rand(1, 3, 48, 64)
    with torch.no_grad():
        expected = network.eval()(image)
        torch.testing.assert_close(torch.jit.load(str(tmp_path / "model.ts"))(image), expected, rtol=1e-4, atol=1e-5)


def test_network_without_regions_refuses_to_save_uncertainty(run_config, tiny_dataset, tmp_path):
    options = {"device": "cpu", "num_workers": 0, "progress_bar": False, "ckpt_dir": str(tmp_path)}
    torch.save(baseline_unet(decoder_channels=4).state_dict(), tmp_path / "model.pt")
    with pytest.raises(RuntimeError) as error:
        run_config(
            "inference",
            workflow_type="infer",
            **options,
            method="unet",
            decoder_channels=4,
            image_size=32,  # without a card
            output_dir=str(tmp_path / "out"),
            dataset_dir=str(tiny_dataset / "images"),
            save_uncertainty="png",
        )
    assert "UNet predicts no regions" in str(error.value.__cause__)
