"""A trained model knows its own settings: configs read them from the card beside the weights."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.bundle import ckpt_export
from PIL import Image

from condseg_monai import ConDSeg, ModelCard
from condseg_monai.utils.errors import root_cause
from condseg_monai.utils.files import file_sha256

RUN = {"device": "cpu", "num_workers": 0, "progress_bar": False}


@pytest.fixture
def models(trained, tmp_path):
    """A copy of the tiny model and its card."""
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("model.pt", "model.json"):
        shutil.copy(trained.ckpt_dir / name, folder)
    return folder


@pytest.fixture
def predict(run_config, tiny_dataset, tmp_path):
    def run(models, name="out", **options):
        places = {"ckpt_dir": str(models), "output_dir": str(tmp_path / name)}
        source = str(tiny_dataset / "images")
        run_config("inference", workflow_type="infer", dataset_dir=source, **RUN, **places, **options)
        return {path.name: np.asarray(Image.open(path)) for path in sorted((tmp_path / name).glob("*.png"))}

    return run


def test_inference_after_a_training_needs_no_option_of_the_network(models, predict, caplog):
    masks = predict(models)
    options = {"encoder": "resnet18", "decoder_channels": 16, "image_size": 32, "dilation_scale": 0.125}
    (models / "model.json").unlink()
    expected = predict(models, "without_card", **options)
    assert "model.pt has no model card (model.json): options and defaults hold, method condseg" in caplog.text
    assert masks.keys() == expected.keys()
    assert all(np.array_equal(mask, expected[name]) for name, mask in masks.items())


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("image_size", 256, "image_size is 256, but the model has image_size 32"),
        ("encoder", "resnet50", "encoder is 'resnet50', but the model has encoder resnet18"),
        ("cdfa", "released", "cdfa is 'released', but the model has cdfa paper"),
        ("cdfa_window", 5, "cdfa_window is 5, but the model has cdfa_window 3"),
        ("normalization", "released", "normalization is 'released', but the model has normalization imagenet"),
    ],
)
@pytest.mark.parametrize("task", ["inference", "evaluation"])
def test_option_that_contradicts_the_card_is_refused(
    models, predict, run_config, tiny_dataset, tmp_path, task, option, value, words
):
    with pytest.raises(RuntimeError) as error:
        if task == "inference":
            predict(models, **{option: value})
        else:
            places = {"ckpt_dir": str(models), "output_dir": str(tmp_path / "eval"), "dataset_dir": str(tiny_dataset)}
            run_config("train_stage2", "evaluate", **RUN, **places, **{option: value})
    assert words in str(root_cause(error.value))


def test_evaluation_uses_the_size_of_the_card(models, run_config, tiny_dataset, tmp_path):
    places = {"ckpt_dir": str(models), "output_dir": str(tmp_path / "eval"), "dataset_dir": str(tiny_dataset)}
    workflow = run_config("train_stage2", "evaluate", **RUN, **places)
    summary = json.loads((tmp_path / "eval" / "summary_val.json").read_text())
    assert summary["image_size"] == 32
    assert workflow.network_def.encoder.channels[-1] == 256


def test_card_of_other_weights_stops_inference(models, predict):
    card = ModelCard.read(models / "model.json").as_dict()
    card["weights"]["sha256"] = "0" * 64
    (models / "model.json").write_text(json.dumps(card))
    with pytest.raises(RuntimeError) as error:
        predict(models)
    assert "model.json describes other weights than" in str(root_cause(error.value))


def test_weights_that_are_not_finite_stop_inference(models, predict):
    state = torch.load(models / "model.pt", weights_only=True)
    next(value for value in state.values() if value.is_floating_point()).view(-1)[0] = torch.nan
    torch.save(state, models / "model.pt")
    (models / "model.json").unlink()
    with pytest.raises(RuntimeError) as error:
        predict(models, encoder="resnet18", decoder_channels=16, image_size=32)
    assert "not finite" in str(root_cause(error.value))


def test_another_network_than_the_config_s_is_called_custom(run_config, tiny_options, predict, tmp_path):
    network = {"_target_": "condseg_monai.MedDisSegStage1", "encoder": "resnet18", "elat": False}
    places = {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval")}
    stage2 = {"stage1_checkpoint": None, "network_def": network, "loss": {"_target_": "monai.losses.DiceLoss"}}
    stage2["train#trainer#loss_function"] = "$lambda output, target: output.mask.square().mean()"
    run_config("train_stage2", **tiny_options, **places, **stage2, panel_interval=0)
    card = ModelCard.read(tmp_path / "models" / "model.json")
    assert (card.method, card.network, card.image_size) == ("custom", {}, 32)
    with pytest.raises(RuntimeError) as error:
        predict(tmp_path / "models")
    assert "give the config your network_def" in str(root_cause(error.value))


def test_train_json_builds_the_network_that_is_in_the_bundle(open_config, trained):
    workflow = open_config("train", ckpt_dir=str(trained.ckpt_dir))
    workflow.initialize()
    network = workflow.network_def
    assert isinstance(network, ConDSeg)
    network.load_state_dict(torch.load(trained.ckpt_dir / "model.pt", weights_only=True))


@pytest.mark.slow
def test_exported_config_without_its_model_refuses_to_guess_the_size(bundle_dir, trained, open_config, tmp_path):
    config = bundle_dir / "configs" / "inference.json"
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(trained.ckpt_dir / "model.pt"),
        meta_file=str(bundle_dir / "configs" / "metadata.json"),
        config_file=str(config),
        ckpt_dir=str(trained.ckpt_dir),
    )
    files = {"inference.json": ""}
    torch.jit.load(str(tmp_path / "model.ts"), _extra_files=files)
    workflow = open_config("inference", workflow_type="infer", bundle_root=str(tmp_path))
    workflow.initialize()
    preprocess = workflow.preprocessing
    assert json.loads(files["inference.json"]) == json.loads(config.read_text())  # what a reader of the file opens
    with pytest.raises(RuntimeError) as error:
        preprocess({"image": str(next((bundle_dir.parent / "docs" / "images").glob("*.png")))})
    assert "image_size and normalization are not known" in str(root_cause(error.value))


@pytest.mark.parametrize("anti_aliasing", [False, True])
def test_images_are_smoothed_in_inference_and_evaluation_as_in_training(
    open_config, tiny_options, models, tmp_path, anti_aliasing
):
    options = {**tiny_options, "image_size": 16, "anti_aliasing": anti_aliasing}
    training = open_config("train_stage2", **options, stage1_checkpoint=None, output_dir=str(tmp_path / "eval"))
    card = training.parser.get_parsed_content("model")
    assert card.anti_aliasing == anti_aliasing
    replace(card, weights={"sha256": file_sha256(models / "model.pt")}).write(models / "model.json")
    case = training.parser.get_parsed_content("datalists")["val"][0]
    expected = training.parser.get_parsed_content("validate#preprocessing")(case)["image"]
    places = {"dataset_dir": tiny_options["dataset_dir"], "ckpt_dir": str(models), "output_dir": str(tmp_path / "out")}
    inference = open_config("inference", workflow_type="infer", **RUN, **places)
    assert torch.equal(inference.parser.get_parsed_content("preprocessing")(case)["image"], expected)
    evaluation = open_config("train_stage2", "evaluate", **RUN, **places)
    assert torch.equal(evaluation.parser.get_parsed_content("validate#preprocessing")(case)["image"], expected)
    plain = open_config("train_stage2", **{**options, "anti_aliasing": False}, stage1_checkpoint=None)
    without = plain.parser.get_parsed_content("validate#preprocessing")(case)["image"]
    assert torch.equal(without, expected) != anti_aliasing
