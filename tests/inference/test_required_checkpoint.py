from dataclasses import replace

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from condseg_monai.inference.required_checkpoint import RequiredCheckpoint, RequiredCheckpointLoader
from condseg_monai.networks.class_names import class_names_of, set_class_names
from condseg_monai.networks.model_card import ModelCard
from condseg_monai.utils.files import file_sha256


def network(inputs: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


@pytest.fixture
def path(tmp_path):
    torch.save(network().state_dict(), tmp_path / "model.pt")
    return tmp_path / "model.pt"


@pytest.mark.parametrize("wrap", [lambda module: module, nn.DataParallel])
def test_weights_are_loaded_and_hashed_in_one_read(path, wrap, monkeypatch):
    expected, sha256 = torch.load(path, weights_only=True), file_sha256(path)
    target = network()
    weights = RequiredCheckpoint(path, wrap(target))
    assert weights.describe() == {"checkpoint": str(path), "checkpoint_sha256": None}
    weights.load()
    path.unlink()
    RequiredCheckpointLoader(weights).attach(engine := Engine(lambda *_: None))
    engine.run([0])  # does not read again
    assert all(torch.equal(value, expected[key]) for key, value in target.state_dict().items())
    assert weights.describe() == {"checkpoint": str(path), "checkpoint_sha256": sha256}


def test_an_engine_that_starts_loads_them(path):
    target = network()
    engine = Engine(lambda *_: None)
    RequiredCheckpointLoader(RequiredCheckpoint(path, target)).attach(engine)
    engine.run([0])
    assert torch.equal(target[0].weight, torch.load(path, weights_only=True)["0.weight"])


def test_class_names_become_the_network_s(path):
    source, target = network(), network()
    set_class_names(source, ["background", "liver"])
    torch.save(source.state_dict(), path)
    weights = RequiredCheckpoint(path, target)
    weights.load()
    assert weights.class_names == class_names_of(target) == ("background", "liver")


def test_missing_file_says_how_to_get_one(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"nope\.pt is missing: train it with .* convert .* --checkpoint.* --bundle_root"
    ):
        RequiredCheckpoint(tmp_path / "nope.pt", network()).load()


def test_damaged_file_and_other_networks_are_refused_by_name(path):
    state_dict = network(2).state_dict()
    state_dict["2.gain"] = state_dict.pop("1.running_mean")
    torch.save(state_dict, path)
    with pytest.raises(ValueError) as error:
        RequiredCheckpoint(path, network()).load()
    for words in (
        "model.pt does not fit the network",
        "decoder_channels",
        "missing keys [1.running_mean]",
        "unknown keys [2.gain]",
        "0.weight (3, 2) instead of (3, 3)",
    ):
        assert words in str(error.value)
    path.write_bytes(b"weights")
    with pytest.raises(ValueError, match=r"model\.pt is damaged"):
        RequiredCheckpoint(path, network()).load()


def test_card_of_other_weights_is_refused(path):
    card = ModelCard("condseg", {}, weights={"file": "model.pt", "sha256": "0" * 64})
    with pytest.raises(ValueError, match=r"model\.json describes other weights than .*model\.pt .*--resume true"):
        RequiredCheckpoint(path, network(), card).load()
    RequiredCheckpoint(path, network(), replace(card, weights={"sha256": file_sha256(path)})).load()


@pytest.mark.parametrize(
    ("key", "change", "words"),
    [
        (
            "0.weight",
            lambda value: value.index_fill(1, torch.tensor([0]), torch.nan),
            "not finite numbers, in 0.weight",
        ),
        ("1.running_var", lambda value: value * torch.inf, "not finite numbers, in 1.running_var"),
        ("0.weight", lambda value: value.to(torch.int64), "torch.int64 in 0.weight, where torch.float32 belongs"),
        ("0.weight", lambda value: value.to(torch.complex64), "not finite numbers, in 0.weight"),
    ],
)
def test_weights_that_are_no_finite_numbers_are_refused(path, key, change, words):
    state_dict = network().state_dict()
    state_dict[key] = change(state_dict[key])
    torch.save(state_dict, path)
    with pytest.raises(ValueError, match=words):
        RequiredCheckpoint(path, network()).load()


def test_half_precision_weights_are_loaded(path):
    torch.save(
        {key: value.half() if value.is_floating_point() else value for key, value in network().state_dict().items()},
        path,
    )
    RequiredCheckpoint(path, network()).load()
