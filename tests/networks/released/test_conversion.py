"""The command that converts a released checkpoint file."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from condseg_monai import ConDSegStage1, ModelCard, network_of
from condseg_monai.cli.commands import main
from condseg_monai.inference.packed_bundle import load_model
from condseg_monai.networks.methods import METHODS
from condseg_monai.networks.released.condseg import RELEASED_MODELS
from condseg_monai.networks.released.conversion import _CARDS
from condseg_monai.networks.released.dec_seg import merge_binary_logits
from tests.networks.released.vectors import load


@pytest.fixture
def released(tmp_path):
    path = tmp_path / "released.pth"
    torch.save({"state_dict": {f"module.{key}": v for key, v in load("condseg_stage1").state_dict().items()}}, path)
    return path


def convert(source, target, *more):
    return main(["convert", str(source), str(target), "--model", "condseg_stage1", *more])


def test_the_written_file_fills_our_network(released, tmp_path, capsys):
    target = tmp_path / "models" / "stage1.pt"
    assert convert(released, target) == 0
    network = ConDSegStage1()
    network.load_state_dict(torch.load(target, weights_only=True))
    assert torch.equal(network.encoder.conv1.weight, load("condseg_stage1").state_dict()["layer0.0.weight"])
    assert "every released key used" in capsys.readouterr().out
    card = ModelCard.read(target.with_suffix(".json"))
    assert (card.method, card.normalization, card.network["encoder"]) == ("condseg_stage1", "released", "resnet50")
    _, _, network = load_model(target)
    assert isinstance(network, ConDSegStage1)


@pytest.mark.parametrize("model", sorted(_CARDS))
def test_card_describes_the_network_of_every_released_model(model):
    options = dict(_CARDS[model])
    method = options.pop("method")
    shape = {"in_channels": 3, "out_channels": 1, **METHODS[method].options, **options}
    with torch.device("meta"):
        expected = RELEASED_MODELS[model][0]().state_dict()
        found = network_of(ModelCard(method, shape)).state_dict()
    if model == "dec_seg":  # two logits there, one here
        expected = merge_binary_logits(expected)
    assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in expected.items()}


@pytest.mark.slow
def test_converted_model_segments_without_an_option(tmp_path):
    torch.save(load("condseg_stage2").state_dict(), tmp_path / "released.pth")
    target, image = tmp_path / "model.pt", tmp_path / "image.png"
    assert main(["convert", str(tmp_path / "released.pth"), str(target), "--model", "condseg_stage2"]) == 0
    Image.effect_noise((40, 30), 50).save(image)
    assert main(["predict", str(target), str(image), str(tmp_path / "out"), "--num_workers", "0"]) == 0
    assert Image.open(tmp_path / "out" / "image.png").size == (40, 30)
    assert json.loads((tmp_path / "out" / "inference.json").read_text())["settings"]["normalization"] == "released"


def test_an_existing_file_is_kept_unless_overwrite(released, tmp_path, capsys):
    target = tmp_path / "stage1.pt"
    target.write_bytes(b"mine")
    assert convert(released, target) == 1
    assert target.read_bytes() == b"mine"
    assert "stage1.pt exists" in capsys.readouterr().err
    assert convert(released, target, "--overwrite") == 0
    assert torch.load(target, weights_only=True)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"not a checkpoint", "no PyTorch file"), ({"a": 1}, "holds no state_dict"), ({"a.weight": None}, "a.weight")],
)
def test_a_file_that_is_no_checkpoint_fails_and_leaves_nothing(content, words, tmp_path, capsys):
    source, target = tmp_path / "source.pth", tmp_path / "target.pt"
    if isinstance(content, bytes):
        source.write_bytes(content)
    else:
        torch.save({k: torch.zeros(1) if v is None else v for k, v in content.items()}, source)
    assert convert(source, target) == 1
    assert words in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source.pth"]


def test_a_missing_file_is_named(tmp_path, capsys):
    assert convert(tmp_path / "nowhere.pth", tmp_path / "target.pt") == 1
    assert "nowhere.pth" in capsys.readouterr().err
