"""Settings of a model: from the card beside its weights, else from options and defaults."""

from dataclasses import replace

import pytest
import torch

from condseg_monai.data.images.normalization import NormalizeImage
from condseg_monai.data.settings import model_settings
from condseg_monai.networks.methods import METHODS
from condseg_monai.networks.model_card import ModelCard

NETWORK = {"in_channels": 3, "out_channels": 1, "encoder": "resnet18", "decoder_channels": 8, "cdfa": "paper"}
NETWORK |= {"cdfa_window": 3, "decoders": 3, "dilation_scale": 1.0}
CARD = ModelCard("condseg", NETWORK, image_size=64, weights={"sha256": "ab"})


@pytest.fixture
def checkpoint(tmp_path):
    CARD.write(tmp_path / "model.json")
    return tmp_path / "model.pt"


def test_card_needs_no_options(checkpoint):
    assert model_settings({"encoder": None, "image_size": None}, checkpoint) == CARD


def test_options_equal_to_the_card_s_are_accepted(checkpoint):
    options = {**NETWORK, "method": "condseg", "image_size": 64, "normalization": "imagenet"}
    assert model_settings(options, checkpoint) == CARD


def test_threshold_may_be_another(checkpoint):
    assert model_settings({"threshold": 0.3}, checkpoint).threshold == 0.3


@pytest.mark.parametrize(
    ("name", "value", "has"),
    [
        ("method", "unet", "method condseg"),
        ("encoder", "resnet50", "encoder resnet18"),
        ("decoder_channels", 16, "decoder_channels 8"),
        ("cdfa", "released", "cdfa paper"),
        ("cdfa_window", 5, "cdfa_window 3"),
        ("decoders", 1, "decoders 3"),
        ("dcf", True, "no dcf"),
        ("image_size", 256, "image_size 64"),
        ("anti_aliasing", True, "anti_aliasing False"),
        ("normalization", "released", "normalization imagenet"),
        ("class_names", ["background", "polyp"], "class_names"),
    ],
)
def test_option_that_contradicts_the_card_is_refused_with_both_values(checkpoint, name, value, has):
    with pytest.raises(ValueError, match=rf"{name} is .*, but the model has {has}") as error:
        model_settings({name: value}, checkpoint)
    assert repr(value) in str(error.value)
    assert "model.json" in str(error.value)


def test_classes_have_names_values_and_a_channel_each():
    card = model_settings({"class_names": ["background", "lesion", "tool"], "channels": 1}, method="condseg")
    assert card.network["out_channels"] == 3 and card.network["in_channels"] == 1
    assert card.classes == {"background": 0, "lesion": 1, "tool": 2}
    assert not card.is_binary and card.image_mode == "gray"
    assert CARD.classes is None and CARD.is_binary and CARD.image_mode == "RGB"


def test_class_values_survive_the_file_and_are_compared(tmp_path):
    options = {"class_names": ["background", "lesion"], "class_values": [[0, 0, 0], [255, 0, 0]], "channels": 1}
    replace(model_settings(options, method="condseg"), weights=CARD.weights).write(tmp_path / "model.json")
    card = model_settings(options, tmp_path / "model.pt")
    assert card.classes == {"background": [0, 0, 0], "lesion": [255, 0, 0]}
    for other in ({"class_values": [0, 1]}, {"channels": 3}):
        with pytest.raises(ValueError, match=f"{next(iter(other))} is .*, but the model has"):
            model_settings(other, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="threshold is of a binary mask"):
        model_settings({"threshold": 0.3}, tmp_path / "model.pt")


def test_card_with_values_that_no_mask_can_have_is_refused(tmp_path):
    card = model_settings({"class_names": ["background", "lesion"], "class_values": [0, 1]}, method="condseg")
    replace(card, class_values=(0, 70000), weights=CARD.weights).write(tmp_path / "model.json")
    with pytest.raises(ValueError, match=r"model\.json: class_values: lesion has 70000"):
        model_settings({}, tmp_path / "model.pt")


def test_values_without_names_raise():
    with pytest.raises(ValueError, match="give their --class_names too"):
        model_settings({"class_values": [0, 1]}, method="condseg")


def test_model_of_another_kind_names_the_config_to_use(checkpoint):
    with pytest.raises(ValueError, match=r"segments 2D images, not CT volumes: use configs/inference\.json"):
        model_settings({}, checkpoint, kind="ct")


def test_weights_without_a_card_take_options_and_defaults_and_say_so(tmp_path, caplog):
    checkpoint = tmp_path / "model.pt"
    checkpoint.touch()
    card = model_settings({"method": "dec_seg", "encoder": "resnet18"}, checkpoint)
    assert (card.method, card.image_size, card.network["encoder"], card.network["dcf"]) == (
        *("dec_seg", 352, "resnet18", True),
    )
    assert "no model card" in caplog.text
    assert "image_size 352" in caplog.text
    ct = model_settings({}, checkpoint, kind="ct")
    assert (ct.image_size, ct.window_hu, ct.network["out_channels"]) == (224, (-125, 275), 9)


def test_settings_are_not_guessed_without_weights(tmp_path):
    checkpoint = tmp_path / "model.pt"
    assert model_settings({}, checkpoint).image_size == 256
    assert model_settings({"image_size": 96}, checkpoint, strict=True).normalization == "imagenet"
    normalize = NormalizeImage(model_settings({}, checkpoint, strict=True).normalization)
    with pytest.raises(ValueError, match=r"image_size and normalization are not known: .* condseg pack"):
        normalize(torch.rand(3, 4, 4))


def test_training_takes_its_options():
    card = model_settings({**NETWORK, "image_size": 32, "class_names": ["a", "b", "c"]}, method="condseg_stage1")
    assert card.network == {"in_channels": 3, "out_channels": 3, "encoder": "resnet18"}
    assert card.class_names == ("a", "b", "c")


@pytest.mark.parametrize("method", METHODS)
def test_without_card_and_options_the_network_is_the_method_s_default(method):
    network = model_settings({"method": method}).network
    assert None not in network.values()
    assert network.get("dilation_scale", 1.0) == 1.0
