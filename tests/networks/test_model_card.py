"""Model card: what a checkpoint is and how to use it, as JSON beside it."""

import json
from dataclasses import replace

import pytest
import torch

from condseg_monai.networks.methods import METHODS, describes, network_of
from condseg_monai.networks.model_card import ModelCard, card_path

NETWORK = {"in_channels": 3, "out_channels": 1, "encoder": "resnet18", "decoder_channels": 8, "cdfa": "paper"}
NETWORK |= {"cdfa_window": 3, "decoders": 3, "dilation_scale": 1.0}
CARD = ModelCard(
    method="condseg",
    network=NETWORK,
    image_size=96,
    normalization="released",
    threshold=0.4,
    weights={"file": "model.pt", "sha256": "ab"},
    training={"epoch": 3, "best": {"metric": "val_mean_iou", "value": 0.5, "interval_95": [0.4, 0.6]}},
    versions={"torch": "2.13.0"},
)


def test_card_is_read_as_it_was_written(tmp_path):
    CARD.write(tmp_path / "model.json")
    assert ModelCard.read(tmp_path / "model.json") == CARD
    ct = ModelCard("condseg", NETWORK, "ct", 64, window_hu=(-125.0, 275.0), class_names=("background", "liver"))
    ct = replace(ct, network={**NETWORK, "out_channels": 2}, weights=CARD.weights)
    ct.write(tmp_path / "ct.json")
    assert ModelCard.read(tmp_path / "ct.json") == ct
    assert card_path("models/model.pt").as_posix() == "models/model.json"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": "other"}, "no model card"),
        ({"schema_version": 2}, "has version 2 of the model card, this package reads 1; use the version"),
        ({"method": None}, "method cannot be None"),
        ({"network": [1]}, "network must be an object"),
        ({"network": {"encoder": {"_target_": "os.system"}}}, "network cannot be"),
        ({"input": {"kind": "image"}}, "no entry 'image_size'"),
        ({"input": {**CARD.as_dict()["input"], "image_size": "96"}}, "image_size cannot be '96'"),
        ({"input": {**CARD.as_dict()["input"], "kind": "video"}}, "kind cannot be 'video'"),
        ({"input": {**CARD.as_dict()["input"], "anti_aliasing": "yes"}}, "anti_aliasing cannot be 'yes'"),
        ({"input": {**CARD.as_dict()["input"], "window_hu": [1, 1]}}, "window_hu cannot be"),
        ({"input": {**CARD.as_dict()["input"], "kind": "ct", "window_hu": None}}, "window_hu cannot be None"),
        ({"output": {"threshold": 1.5, "class_names": ["a", "b"]}}, "threshold cannot be 1.5"),
        ({"output": {"threshold": 0.5, "class_names": "ab"}}, "class_names cannot be 'ab'"),
        ({"output": {"threshold": 10**400, "class_names": ["a", "b"]}}, "int too large"),
        ({"output": {"threshold": 0.5, "class_names": ["a", "$b"]}}, "begins with"),
        ({"output": {"threshold": 0.5, "class_names": ["a", "b", "c"]}}, "3 names, and the network 1 output"),
        ({"output": {"threshold": 0.5, "class_names": ["a", "b"], "class_values": [0, 1]}}, "one output channel"),
        ({"output": {**CARD.as_dict()["output"], "antialiasing": True}}, "an entry antialiasing, which this package"),
        ({"input": {**CARD.as_dict()["input"], "crop": True}}, "an entry crop, which this package does not know"),
        ({"weights": {}}, "no SHA-256 of its weights"),
        ({"weights": {"sha256": 5}}, "no SHA-256 of its weights"),
        ({"schema_version": True}, "has version True"),
    ],
)
def test_other_content_is_refused_by_name(changes, words, tmp_path):
    path = tmp_path / "model.json"
    path.write_text(json.dumps({**CARD.as_dict(), **changes}))
    with pytest.raises(ValueError, match=words) as error:
        ModelCard.read(path)
    assert str(path) in str(error.value)


def test_damaged_card_is_refused_by_name(tmp_path):
    for content in (b"\xff{", b"[" * 200_000):
        (tmp_path / "model.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"model\.json cannot be read as a model card"):
            ModelCard.read(tmp_path / "model.json")


@pytest.mark.parametrize("name", ["dilation_scale", "in_channels", "foo"])
def test_network_that_lacks_an_argument_or_has_another_is_refused(name):
    network = {key: value for key, value in NETWORK.items() if key != name}
    network = network if len(network) < len(NETWORK) else {**network, name: 1}
    with pytest.raises(ValueError, match=rf"{name} is (no argument of it|missing)"):
        network_of(replace(CARD, network=network))


@pytest.mark.parametrize("method", METHODS)
def test_network_is_built_from_its_card(method):
    arguments = {"encoder": "resnet18", "decoder_channels": 8, "cdfa": "released", "cfa": True, "dcf": True}
    options = METHODS[method].options
    shape = {**options, **{name: value for name, value in arguments.items() if name in options}}
    card = ModelCard(method, {"in_channels": 3, "out_channels": 1, **shape})
    network = network_of(card)
    assert describes(card, network.state_dict())
    assert not describes(card, {**network.state_dict(), "more": torch.zeros(1)})


@pytest.mark.parametrize("method", METHODS)
def test_options_have_the_defaults_of_the_network(method):
    with torch.device("meta"):
        network = METHODS[method].network()
    card = ModelCard(method, {"in_channels": 3, "out_channels": 1, **METHODS[method].options})
    assert describes(card, network.state_dict())


def test_unknown_networks_cannot_be_built():
    with pytest.raises(ValueError, match=r"none of condseg, .*\('custom'\)"):
        network_of(ModelCard("custom", {}))
