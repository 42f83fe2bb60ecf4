import logging

import pytest
import torch

from condseg_monai import ConDSeg, ConDSegStage1
from condseg_monai.training.stage_handover import start_from_stage1


@pytest.fixture(scope="module")
def stage1():
    torch.manual_seed(1)
    network = ConDSegStage1(encoder="resnet18")
    network(torch.rand(2, 3, 32, 32))  # moves BatchNorm's running statistics off their start
    return network


@pytest.fixture
def network():
    torch.manual_seed(2)
    return ConDSeg(encoder="resnet18", decoder_channels=8)


def save(state_dict, path):
    torch.save(state_dict, path)
    return str(path)


def test_every_encoder_tensor_is_taken_over_and_nothing_else(stage1, network, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    start_from_stage1(network, save(stage1.state_dict(), tmp_path / "stage1.pt"))
    expected = stage1.encoder.state_dict()
    assert any(key.endswith("running_var") for key in expected)
    assert any(not torch.equal(before[f"encoder.{key}"], value) for key, value in expected.items())
    for key, value in network.state_dict().items():
        wanted = expected[key.removeprefix("encoder.")] if key.startswith("encoder.") else before[key]
        assert torch.equal(value, wanted), key
    assert "stage1.pt" in caplog.text


def test_missing_file_stops_and_says_how_to_get_one(network, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        start_from_stage1(network, tmp_path / "stage1.pt")
    for part in ("stage1.pt does not exist", "configs/train_stage1.json", "--stage1_checkpoint null"):
        assert part in str(error.value)


def test_damaged_file_is_named(network, tmp_path):
    (tmp_path / "stage1.pt").write_bytes(b"half a file")
    with pytest.raises(ValueError, match=r"stage1_checkpoint: .*stage1\.pt is damaged"):
        start_from_stage1(network, tmp_path / "stage1.pt")


@pytest.mark.parametrize("null", [None, "null"])
def test_null_announces_one_stage_training_and_changes_nothing(network, caplog, null):
    before = {key: value.clone() for key, value in network.state_dict().items()}
    start_from_stage1(network, null)
    assert "one-stage training" in caplog.text
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_missing_buffer_fails_by_name_and_changes_nothing(stage1, network, tmp_path):
    state_dict = dict(stage1.state_dict())
    dropped = next(key for key in state_dict if key.endswith("running_mean"))
    del state_dict[dropped]
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=rf"missing keys \[{dropped}\]"):
        start_from_stage1(network, save(state_dict, tmp_path / "stage1.pt"))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_unknown_key_and_other_shape_fail_by_name(stage1, network, tmp_path):
    state_dict = dict(stage1.state_dict())
    first = next(iter(state_dict))
    state_dict[first] = torch.zeros(1, 2)
    state_dict["encoder.extra"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"unknown keys \[encoder\.extra\]") as error:
        start_from_stage1(network, save(state_dict, tmp_path / "stage1.pt"))
    assert f"{first} (1, 2) instead of" in str(error.value)


def test_checkpoint_of_another_encoder_fails(network, tmp_path):
    other = ConDSegStage1(encoder="resnet34").state_dict()
    with pytest.raises(ValueError, match="is `encoder` the same in both stages"):
        start_from_stage1(network, save(other, tmp_path / "stage1.pt"))


def test_one_stage_training_starts_from_published_weights(stage1, network, tmp_path):
    weights = save(stage1.encoder.state_dict(), tmp_path / "resnet18.pth")
    start_from_stage1(network, None, weights)
    expected = stage1.encoder.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in network.encoder.state_dict().items())


def test_first_stage_leaves_published_weights_alone(stage1, network, tmp_path):
    start_from_stage1(network, save(stage1.state_dict(), tmp_path / "stage1.pt"), tmp_path / "there is none")
    assert torch.equal(network.encoder.conv1.weight, stage1.encoder.conv1.weight)
