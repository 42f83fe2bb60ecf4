"""Model card: what a checkpoint is and how to use it, as JSON beside it."""

import json

import pytest
import torch

from condseg_monai.networks.methods import METHODS, describes, network_of
from condseg_monai.networks.model_card import ModelCard, card_path

NETWORK = {"in_channels": 3, "out_channels": 1, "encoder": "resnet18", "decoder_channels": 8, "cdfa": "paper"}
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
    ct.write(tmp_path / "ct.json")
    assert ModelCard.read(tmp_path / "ct.json") == ct
    assert card_path("models/model.pt").as_posix() == "models/model.json"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": "other"}, "no model card"),
        ({"schema_version": 2}, "has version 2 of the model card, this package reads 1; update"),
        ({"method": None}, "method cannot be None"),
        ({"network": [1]}, "network must be an object"),
        ({"network": {"encoder": {"_target_": "os.system"}}}, "network cannot be"),
        ({"input": {"kind": "image"}}, "no entry 'image_size'"),
        ({"input": {**CARD.as_dict()["input"], "image_size": "96"}}, "image_size cannot be '96'"),
        ({"input": {**CARD.as_dict()["input"], "kind": "video"}}, "kind cannot be 'video'"),
        ({"input": {**CARD.as_dict()["input"], "anti_aliasing": "yes"}}, "anti_aliasing cannot be 'yes'"),
        ({"input": {**CARD.as_dict()["input"], "window_hu": [1, 1]}}, "window_hu cannot be"),
        ({"output": {"threshold": 1.5, "class_names": ["a", "b"]}}, "threshold cannot be 1.5"),
        ({"output": {"threshold": 0.5, "class_names": "ab"}}, "class_names cannot be 'ab'"),
    ],
)
def test_other_content_is_refused_by_name(changes, words, tmp_path):
    path = tmp_path / "model.json"
    path.write_text(json.dumps({**CARD.as_dict(), **changes}))
    with pytest.raises(ValueError, match=words) as error:
        ModelCard.read(path)
    assert str(path) in str(error.value)


def test_damaged_card_is_refused_by_name(tmp_path):
    (tmp_path / "model.json").write_bytes(b"\xff{")
    with pytest.raises(ValueError, match=r"model\.json cannot be read as a model card"):
        ModelCard.read(tmp_path / "model.json")


@pytest.mark.parametrize("method", METHODS)
def test_network_is_built_from_its_card(method):
    arguments = {"encoder": "resnet18", "decoder_channels": 8, "cdfa": "released", "cfa": True, "dcf": True}
    shape = {name: value for name, value in arguments.items() if name in METHODS[method].options}
    card = ModelCard(method, {"in_channels": 3, "out_channels": 1, **shape})
    network = network_of(card)
    assert describes(card, network.state_dict())
    assert not describes(card, {**network.state_dict(), "more": torch.zeros(1)})


@pytest.mark.parametrize("method", METHODS)
def test_options_have_the_defaults_of_the_network(method):
    with torch.device("meta"):
        network = network_of(ModelCard(method, {}))
    assert describes(ModelCard(method, dict(METHODS[method].options)), network.state_dict())


def test_unknown_networks_cannot_be_built():
    with pytest.raises(ValueError, match=r"none of condseg, .*\('custom'\)"):
        network_of(ModelCard("custom", {}))
