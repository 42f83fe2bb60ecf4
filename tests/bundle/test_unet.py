"""MONAI's UNet, the baseline, trains, resumes, evaluates, predicts and exports through its overlays."""

import json

import pytest
import torch
from monai.bundle import ckpt_export
from monai.networks.nets import UNet
from PIL import Image

CHANNELS = 4


@pytest.fixture(scope="module")
def knobs(tiny_knobs):
    return {**tiny_knobs, "decoder_channels": CHANNELS}


@pytest.fixture(scope="module")
def trained(run_config, knobs, tmp_path_factory):
    """Two epochs of two iterations, the second one resumed. Read it, do not write to it."""
    folder = tmp_path_factory.mktemp("unet")
    for resume in (False, True):
        run_config("train_stage2", "unet", **{**knobs, "epochs": 1 + resume}, **folders(folder), resume=resume)
    return folder


def folders(path):
    return {"ckpt_dir": str(path / "models"), "output_dir": str(path / "eval")}


def test_it_trains_alone_and_is_resumed(trained):
    record = json.loads((trained / "models" / "run_stage2.json").read_text())
    assert [entry["after_epoch"] for entry in record["resumed"]] == [1]
    assert (record["result"]["iterations"], record["starts_from"]) == (4, None)
    assert record["config"]["network_def"]["_target_"] == "UNet"


def test_it_is_evaluated(run_config, knobs, trained, tmp_path):
    places = {**folders(trained), "output_dir": str(tmp_path)}
    run_config("train_stage2", "unet", "evaluate", **knobs, **places, split="test")
    assert json.loads((tmp_path / "summary_test.json").read_text())["images"] == 2


def test_images_are_segmented(run_config, knobs, trained, tiny_dataset, tmp_path):
    images = {key: value for key, value in knobs.items() if key not in ("epochs", "encoder_weights", "dataset_dir")}
    places = {**folders(trained), "dataset_dir": str(tiny_dataset / "images"), "output_dir": str(tmp_path)}
    workflow = run_config("inference", "unet_inference", workflow_type="infer", **images, **places)
    assert isinstance(workflow.network_def, UNet)
    assert Image.open(tmp_path / "test_0.png").size == (36, 40)


def test_it_has_no_uncertainty_to_save_and_says_so(open_config, knobs, trained, tiny_dataset, tmp_path):
    images = {key: value for key, value in knobs.items() if key not in ("epochs", "encoder_weights", "dataset_dir")}
    places = {**folders(trained), "dataset_dir": str(tiny_dataset / "images"), "output_dir": str(tmp_path)}
    workflow = open_config(
        "inference", "unet_inference", workflow_type="infer", **images, **places, save_uncertainty="png"
    )
    workflow.initialize()
    with pytest.raises(RuntimeError) as error:
        workflow.run()
    assert "UNet predicts no regions" in str(error.value.__cause__)


def test_exported_torchscript_gives_the_same_logits(bundle_dir, trained, open_config, tmp_path):
    files = [str(bundle_dir / "configs" / f"{name}.json") for name in ("inference", "unet_inference")]
    checkpoint = str(trained / "models" / "model.pt")
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=checkpoint,
        meta_file=str(bundle_dir / "configs" / "metadata.json"),
        config_file=files,
        decoder_channels=CHANNELS,
    )
    workflow = open_config("inference", "unet_inference", workflow_type="infer", decoder_channels=CHANNELS)
    network = workflow.parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(checkpoint, weights_only=True))
    image = torch.rand(1, 3, 48, 64)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.load(str(tmp_path / "model.ts"))(image), network(image))
